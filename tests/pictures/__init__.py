"""What does schedctl look like? `make pictures`: the real command, in a real terminal, against a real server.

    screen      a command in a pseudo terminal, and what stands on its screen (pyte)
    svg         a screen as a picture
    fleets      workers and tasks to look at: none, a few that work, odd names, thousands
    __main__    the scenes, and which of them the README shows

Pictures are looked at by people. What a program can say of them, it says: a line that the terminal had to wrap, or a
letter that moved the cursor elsewhere, is a failure.
"""
