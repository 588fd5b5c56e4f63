package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hermodmq/hermod/cmd/hermod/admin"
)

// ctlOptions are the flags every ctl command takes.
type ctlOptions struct {
	dataDir string
	json    bool
	req     admin.Request
}

func ctlCommand() *cobra.Command {
	o := &ctlOptions{}
	cmd := &cobra.Command{
		Use:   "ctl",
		Short: "Inspect and change a running node",
		Long:  "ctl talks to the node that runs on --data-dir, through the socket in that folder.\nCommands and the order of their arguments are those of rabbitmqctl.",
	}
	f := cmd.PersistentFlags()
	f.StringVar(&o.dataDir, "data-dir", "./data", "data folder of the node")
	f.StringVarP(&o.req.VHost, "vhost", "p", "/", "virtual host")
	f.BoolVar(&o.json, "json", false, "print JSON")
	cluster := &cobra.Command{Use: "cluster", Short: "Members of the cluster and who leads it"}
	cmd.AddCommand(cluster, restoreCommand(o))
	cluster.AddCommand(recoverCommand(o))
	for _, spec := range admin.Commands {
		sub := ctlSubcommand(o, spec)
		if name, ok := strings.CutPrefix(spec.Name, "cluster_"); ok {
			sub.Use = strings.TrimSpace(name + " " + spec.Args)
			cluster.AddCommand(sub)
			continue
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

func ctlSubcommand(o *ctlOptions, spec admin.Spec) *cobra.Command {
	sub := &cobra.Command{
		Use:   strings.TrimSpace(spec.Name + " " + spec.Args),
		Short: spec.Short,
		Args:  cobra.RangeArgs(spec.Min, spec.Max),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCtl(cmd.Context(), o, spec, args)
		},
	}
	if strings.HasPrefix(spec.Name, "set_") && strings.HasSuffix(spec.Name, "policy") {
		sub.Flags().IntVar(&o.req.Priority, "priority", 0, "the highest priority that matches wins")
		sub.Flags().StringVar(&o.req.ApplyTo, "apply-to", "all", "all, queues, classic_queues, quorum_queues, streams or exchanges")
	}
	return sub
}

func runCtl(ctx context.Context, o *ctlOptions, spec admin.Spec, args []string) error {
	req := o.req
	req.Args = args
	if spec.ReadsFile {
		body, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		req.Body = body
	}
	reply, err := admin.Call(ctx, o.dataDir, spec.Name, req)
	if err != nil {
		return err
	}
	if spec.WritesFile && len(args) > 0 && args[0] != "-" {
		return os.WriteFile(args[0], reply.Body, 0o600)
	}
	return printReply(reply, o.json)
}

func printReply(r *admin.Reply, asJSON bool) error {
	if r.Body != nil {
		_, err := os.Stdout.Write(append(r.Body, '\n'))
		return err
	}
	if asJSON {
		list := make([]map[string]any, 0, len(r.Rows))
		for _, row := range r.Rows {
			m := map[string]any{}
			for i, c := range r.Columns {
				m[c] = row[i]
			}
			list = append(list, m)
		}
		return json.NewEncoder(os.Stdout).Encode(list)
	}
	if len(r.Columns) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(r.Columns, "\t"))
	for _, row := range r.Rows {
		cells := make([]string, len(row))
		for i, v := range row {
			cells[i] = fmt.Sprint(v)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}
