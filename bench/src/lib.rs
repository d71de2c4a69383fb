//! isthmus-bench
