//! Actor, grants, action, tenant and now to a permit or a denial: the only door.
