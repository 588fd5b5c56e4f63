package openwire

import (
	"os"
	"testing"
)

// TestJoram runs the JORAM suite, tests of JMS 1.1 by others, with the clients
// whose packages it knows. Each has a broker of its own.
func TestJoram(t *testing.T) {
	run := wantedGenerations(t)
	for _, g := range run {
		if g.build == "javax" {
			g.compile(t)
			break
		}
	}
	for _, g := range run {
		if g.build != "javax" {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			if os.Getenv("BROKER_URL") == "" {
				t.Parallel()
			}
			g.java(t, "openwire.Joram", broker(t))
		})
	}
}
