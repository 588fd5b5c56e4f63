package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermodmq/hermod/ha"
)

// recoverCommand works without a node: it makes the last member that is left
// the only one.
func recoverCommand(o *ctlOptions) *cobra.Command {
	var name string
	var accepted bool
	cmd := &cobra.Command{
		Use:   "recover --node NAME --accept-loss",
		Short: "make the stopped node of this data folder the only member of its cluster; DANGEROUS",
		Long: "recover is for a cluster whose other nodes are gone for good, and with them the quorum.\n" +
			"The node goes on alone with what it has, which may lack messages that only the others had confirmed.\n" +
			"Wipe the data folders of the other nodes before they are started again: with their old state they would\n" +
			"be a second cluster. Empty, they join this one.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !accepted {
				return errors.New("nothing was changed. Confirmed messages may be lost, and the other nodes must never come back with their old data; say --accept-loss if that is so")
			}
			dir := filepath.Join(o.dataDir, logFolder)
			if _, err := os.Stat(dir); err != nil {
				return fmt.Errorf("no node has run on this data folder: %w", err)
			}
			forced, err := ha.ForceAlone(ha.Options{Dir: dir, NodeID: name})
			if err != nil {
				return err
			}
			fmt.Printf("%s is the only member now; its log ends with entry %d\n", name, forced.Index)
			if len(forced.Dropped) > 0 {
				fmt.Printf("dropped: %s; wipe their data folders before you start them again\n", strings.Join(forced.Dropped, ", "))
			}
			if !forced.Voter {
				fmt.Printf("%s had no vote yet: it had not caught up with the cluster\n", name)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "node", "hermod-1", "node.name of the node")
	cmd.Flags().BoolVar(&accepted, "accept-loss", false, "confirmed messages may be lost")
	return cmd
}
