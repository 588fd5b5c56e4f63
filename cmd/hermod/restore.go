package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hermodmq/hermod/ha"
	"github.com/hermodmq/hermod/persistence"
)

// restoreCommand works without a node: it makes a data folder of a backup.
func restoreCommand(o *ctlOptions) *cobra.Command {
	var name string
	var verify bool
	cmd := &cobra.Command{
		Use:   "restore FOLDER",
		Short: "make the data folder of a new node from a backup; no node may run there",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			report, err := restore(args[0], o.dataDir, name, verify)
			if err != nil {
				return err
			}
			fmt.Printf("%d files, %d bytes, %d segments, %d messages stored\n", report.Files, report.Bytes, report.Segments, report.Messages)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "node", "hermod-1", "node.name of the node that will run on the folder")
	cmd.Flags().BoolVar(&verify, "verify", false, "only read the backup through")
	return cmd
}

func restore(backup, dataDir, name string, verify bool) (*persistence.BackupReport, error) {
	if verify {
		return persistence.VerifyBackup(backup)
	}
	for _, folder := range []string{logFolder, storeFolder} {
		if _, err := os.Lstat(filepath.Join(dataDir, folder)); !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s holds data already", dataDir)
		}
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	report, err := persistence.RestoreBackup(backup, filepath.Join(dataDir, storeFolder))
	if err != nil {
		return nil, err
	}
	return report, ha.Found(filepath.Join(dataDir, logFolder), name, report.Index)
}
