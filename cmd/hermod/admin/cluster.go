package admin

import (
	"context"
	"fmt"

	"github.com/hermodmq/hermod/ha"
	"github.com/hermodmq/hermod/persistence"
)

// standbyCommands are those that a node answers that is not the active one.
var standbyCommands = map[string]bool{
	"cluster_status": true, "cluster_join": true, "cluster_leave": true, "cluster_transfer": true, "backup": true,
}

// notActive says where to ask.
func (s *Server) notActive() error {
	leader := "no node"
	if st := s.node.Log.Status(); st.Leader != "" {
		leader = st.Leader
	}
	if s.node.Store == nil {
		return fmt.Errorf("this node is a witness; %s is the active one", leader)
	}
	return fmt.Errorf("this node is a standby; %s is the active one", leader)
}

func clusterStatus(s *Server, _ *Request) (*Reply, error) {
	st := s.node.Log.Status()
	r := &Reply{
		Columns: []string{"name", "address", "role", "serving", "voter", "reachable", "term", "last_index", "applied", "lag_entries", "version", "format_level", "disk_low"},
		Rows:    [][]any{},
	}
	for _, n := range st.Nodes {
		role, lag := string(n.Role), any(n.Lag)
		if role == "" { // not heard of: only the leader asks around
			role, lag = "-", "-"
			if n.Name == st.Leader {
				role = "leader"
			}
		}
		level := any(n.Level)
		if !n.Reachable && n.Version == "" {
			level = "-"
		}
		if n.Witness {
			role = "witness"
			if n.Role != ha.Follower {
				role = "witness, " + string(n.Role)
			}
		}
		r.Rows = append(r.Rows, []any{n.Name, n.Address, role, n.Serving, n.Voter, n.Reachable, n.Term, n.LastIndex, n.Applied, lag, n.Version, level, n.DiskLow})
	}
	return r, nil
}

func clusterJoin(s *Server, r *Request) (*Reply, error) {
	force := len(r.Args) > 1
	if force && r.Args[1] != "force" {
		return nil, fmt.Errorf("%q: want force or nothing", r.Args[1])
	}
	return nil, s.node.Join(r.Args[0], force)
}

func clusterLeave(s *Server, r *Request) (*Reply, error) {
	name := ""
	if len(r.Args) > 0 {
		name = r.Args[0]
	}
	return nil, s.node.Log.Leave(context.Background(), name)
}

func clusterTransfer(s *Server, r *Request) (*Reply, error) {
	name := ""
	if len(r.Args) > 0 {
		name = r.Args[0]
	}
	return nil, s.node.Log.Transfer(name)
}

// backup makes a snapshot, copies it and verifies the copy; the node serves
// meanwhile.
func backup(s *Server, r *Request) (*Reply, error) {
	if s.node.Store == nil {
		return nil, fmt.Errorf("%w: back a full node up", ha.ErrWitness)
	}
	report, err := s.node.Store.Backup(s.node.DataDir, r.Args[0])
	if err != nil {
		return nil, err
	}
	return backupReply(report), nil
}

func backupReply(b *persistence.BackupReport) *Reply {
	return &Reply{Columns: []string{"key", "value"}, Rows: [][]any{
		{"index", b.Index}, {"files", b.Files}, {"bytes", b.Bytes}, {"segments", b.Segments}, {"messages_stored", b.Messages},
	}}
}
