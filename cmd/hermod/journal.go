package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hermodmq/hermod/persistence"
)

// errDamage makes verify and rebuild end with a status that scripts see.
var errDamage = errors.New("damage was found; see above")

func journalCommand() *cobra.Command {
	var dataDir, keyFile string
	options := func() (persistence.JournalOptions, error) {
		key, err := masterKey(keyFile)
		return persistence.JournalOptions{Dir: filepath.Join(dataDir, "store"), MasterKey: key}, err
	}
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "Look at, check or repair a data folder while no node runs on it",
	}
	f := cmd.PersistentFlags()
	f.StringVar(&dataDir, "data-dir", "./data", "data folder")
	f.StringVar(&keyFile, "encryption-key-file", "", "the key of an encrypted folder")
	cmd.AddCommand(
		&cobra.Command{
			Use: "dump", Short: "Print metadata and the blocks of all segments", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				o, err := options()
				if err != nil {
					return err
				}
				return persistence.Dump(o, os.Stdout)
			},
		},
		&cobra.Command{
			Use: "verify", Short: "Check every byte of every segment and the metadata", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return reportOn(options, persistence.Verify) },
		},
		&cobra.Command{
			Use: "rebuild", Short: "Make new metadata from the segments when the old is lost or corrupt",
			Long: "rebuild loses no stored message, but messages that were settled may come back.\nDamaged segments are set aside as *.corrupt.",
			Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return reportOn(options, persistence.Rebuild) },
		},
	)
	return cmd
}

func reportOn(options func() (persistence.JournalOptions, error), work func(persistence.JournalOptions) (*persistence.Report, error)) error {
	o, err := options()
	if err != nil {
		return err
	}
	r, err := work(o)
	if r != nil {
		fmt.Printf("segments %d, blocks %d, messages %d, bytes %d\n", r.Segments, r.Blocks, r.Messages, r.Bytes)
		for _, d := range r.Damage {
			fmt.Println("damage:", d)
		}
	}
	if err == nil && len(r.Damage) > 0 {
		err = errDamage
	}
	return err
}
