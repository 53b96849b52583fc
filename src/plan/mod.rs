//! Desired state and actual state to a plan: diff, order, render.
