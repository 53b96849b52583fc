//! Who is calling: token, session, socket uid to an actor.
