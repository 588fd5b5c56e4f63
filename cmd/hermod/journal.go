package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func journalCommand() *cobra.Command {
	return &cobra.Command{Use: "journal", Short: "x", RunE: func(*cobra.Command, []string) error { return fmt.Errorf("none") }}
}
