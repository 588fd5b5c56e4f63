package perf

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Command returns `hermod perf` with its subcommands.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "perf",
		Short: "Measure a broker, or the floor below it",
	}
	cmd.AddCommand(amqpCommand(), mqttCommand(), stompCommand(), openwireCommand(), sqsCommand(), relayCommand(), diskCommand())
	return cmd
}

func amqpCommand() *cobra.Command {
	o := &amqpOptions{}
	cmd := &cobra.Command{
		Use:   "amqp",
		Short: "Load an AMQP 0-9-1 broker and report rates, latencies and CPU per message",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.count > 0 && !cmd.Flags().Changed("duration") {
				o.duration = 0
			}
			if err := o.validate(); err != nil {
				return err
			}
			return withSignals(cmd.Context(), func(ctx context.Context) error {
				r, err := runAMQP(ctx, o)
				if err != nil {
					return err
				}
				return print(cmd.OutOrStdout(), r, o.json)
			})
		},
	}
	o.register(cmd.Flags())
	return cmd
}

func relayCommand() *cobra.Command {
	o := &relayOptions{}
	var serve bool
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Measure what moving messages costs without any broker logic",
		Long: "relay starts a second process that cuts length-prefixed messages from its producers' sockets and\n" +
			"writes them to its consumers', loads it, and reports that process's CPU time per message: the floor\n" +
			"for any broker in this language on this machine.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if serve {
				return serveRelay(cmd.InOrStdin(), cmd.OutOrStdout())
			}
			if err := o.validate(); err != nil {
				return err
			}
			return withSignals(cmd.Context(), func(ctx context.Context) error {
				r, err := runRelay(ctx, o)
				if err != nil {
					return err
				}
				return print(cmd.OutOrStdout(), r, o.json)
			})
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&serve, "serve", false, "be the relay: print the address, run until standard input ends")
	_ = cmd.Flags().MarkHidden("serve")
	return cmd
}

func diskCommand() *cobra.Command {
	o := &diskOptions{}
	cmd := &cobra.Command{
		Use:   "disk",
		Short: "Measure writes made durable one after the other",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return withSignals(cmd.Context(), func(ctx context.Context) error {
				r, err := runDisk(ctx, o)
				if err != nil {
					return err
				}
				return print(cmd.OutOrStdout(), r, o.json)
			})
		},
	}
	o.register(cmd.Flags())
	return cmd
}

// withSignals runs f with a context that an interrupt ends, so that queues and
// files are cleaned up.
func withSignals(ctx context.Context, f func(context.Context) error) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return f(ctx)
}

// report is a result that people can read too.
type report interface {
	writeText(w io.Writer)
}

func print(w io.Writer, r report, asJSON bool) error {
	if !asJSON {
		r.writeText(w)
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
