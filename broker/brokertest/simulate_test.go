package brokertest_test

import (
	"flag"
	"testing"

	"github.com/hermodmq/hermod/broker/brokertest"
)

var (
	seed  = flag.Uint64("seed", 0, "run this world only")
	seeds = flag.Uint64("seeds", 1000, "number of worlds")
	steps = flag.Int("steps", 150, "steps in each world")
)

// TestSimulation runs random worlds. A failing one is repeated with -seed.
func TestSimulation(t *testing.T) {
	first, last := uint64(1), *seeds
	if testing.Short() {
		last = 100
	}
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for n := first; n <= last; n++ {
		if err := brokertest.Simulate(n, *steps); err != nil {
			t.Fatalf("-seed=%d -steps=%d: %v", n, *steps, err)
		}
	}
}
