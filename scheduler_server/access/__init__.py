"""Who may do what?

A caller is known by a bearer token or by its certificate. The *access file* has a line for each token and for each kind
of certificate: which identity that is, its roles, and which workers it may be. Roles open methods by one table. What
one identity may ask for at once is limited, so that it cannot crowd out the others.

    roles.py        the table: every method and the roles that may call it. START READING HERE
    grants.py       the access file: tokens and certificates, and what they grant; patterns.py: names with *
    tokens.py       a token is made, and known by its hash
    certificates.py certificate, key and authorities of the server, checked; der.py: when one is valid
    secret_file.py  files that hold secrets: refused where everybody can read them
    rotation.py     files that change while the server runs: taken when they are right, kept when they are not
    caller.py       one who calls: identity, roles, account
    accounts.py     what one identity has taken of its limits; bucket.py: its rate; distinct.py: its different names

Nothing here knows gRPC: `rpc/access.py` asks these parts about each call. Imports only model and the standard library.
"""
