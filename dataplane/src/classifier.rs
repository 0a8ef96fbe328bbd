//! The compiled priority trie: stages 5 to 7 in constant time.
