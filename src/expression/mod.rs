//! CEL over declared names: what an expression may see, checked before it runs, evaluated on a large stack.
//!
//! May start one thread for its stack: the one exception to the purity of floor 0.
