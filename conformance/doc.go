// Package conformance holds the executable policy of this repository: who may
// import whom, that every package says what it is, and which calls have no
// place where. The black-box suites beside it are modules of their own, so
// that test clients never join the product's module graph.
package conformance
