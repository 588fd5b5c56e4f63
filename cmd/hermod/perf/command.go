package perf

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// options are the flags of a subcommand.
type options interface {
	register(f *pflag.FlagSet)
	validate() error
	asJSON() bool
}

// command makes a subcommand that runs what its flags describe and prints what
// came of it.
func command[O options, R report](use, short string, o O, run func(context.Context, O) (R, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return withSignals(cmd.Context(), func(ctx context.Context) error {
				r, err := run(ctx, o)
				if err != nil {
					return err
				}
				return print(cmd.OutOrStdout(), r, o.asJSON())
			})
		},
	}
	o.register(cmd.Flags())
	return cmd
}

func amqpCommand() *cobra.Command {
	o := &amqpOptions{}
	cmd := command("amqp", "Load an AMQP 0-9-1 broker and report rates, latencies and CPU per message", o, runAMQP)
	cmd.PreRun = func(cmd *cobra.Command, _ []string) {
		if o.count > 0 && !cmd.Flags().Changed("duration") {
			o.duration = 0
		}
	}
	return cmd
}

func mqttCommand() *cobra.Command {
	return command("mqtt", "Load an MQTT broker and report rates, latencies and CPU per message", &mqttOptions{}, runMQTT)
}

func stompCommand() *cobra.Command {
	return command("stomp", "Load a STOMP broker and report rates, latencies and CPU per message", &stompOptions{}, runSTOMP)
}

func openwireCommand() *cobra.Command {
	return command("openwire", "Load an OpenWire broker and report rates, latencies and CPU per message", &openwireOptions{}, runOpenWire)
}

func sqsCommand() *cobra.Command {
	return command("sqs", "Load an SQS endpoint and report rates, latencies and CPU per message", &sqsOptions{}, runSQS)
}

func diskCommand() *cobra.Command {
	return command("disk", "Measure writes made durable one after the other", &diskOptions{}, runDisk)
}

func relayCommand() *cobra.Command {
	var serve bool
	cmd := command("relay", "Measure what moving messages costs without any broker logic", &relayOptions{}, runRelay)
	cmd.Long = "relay starts a second process that cuts length-prefixed messages from its producers' sockets and\n" +
		"writes them to its consumers', loads it, and reports that process's CPU time per message: the floor\n" +
		"for any broker in this language on this machine."
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if serve {
			return serveRelay(cmd.InOrStdin(), cmd.OutOrStdout())
		}
		return run(cmd, args)
	}
	cmd.Flags().BoolVar(&serve, "serve", false, "be the relay: print the address, run until standard input ends")
	_ = cmd.Flags().MarkHidden("serve")
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
