// Command hermod is a message broker: one binary that serves, administers,
// measures and repairs.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hermodmq/hermod/cmd/hermod/perf"
)

// version is set by the linker for releases.
var version = "0.1.0-dev"

func main() {
	root := &cobra.Command{
		Use:           "hermod",
		Short:         "A message broker for the clients you already have",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), ctlCommand(), perf.Command(), journalCommand(), versionCommand())
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "hermod:", err)
		os.Exit(1)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version and build",
		Args:  cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			revision := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			fmt.Printf("hermod %s (%s, %s %s/%s)\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
