package admin

import (
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// addAccessKey makes an access key. Its secret is shown here and never again.
func addAccessKey(s *Server, r *Request) (*Reply, error) {
	account := ""
	if len(r.Args) > 1 {
		account = r.Args[1]
	}
	var made endpoint.Key
	_, err := s.change(func(_ *broker.Turn, done done) (err error) {
		made, err = s.node.AWS.CreateKey(r.Args[0], account, done)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Reply{Columns: []string{"access_key_id", "secret_access_key"}, Rows: [][]any{{made.ID, made.Secret}}}, nil
}

func deleteAccessKey(s *Server, r *Request) (*Reply, error) {
	return s.change(func(_ *broker.Turn, done done) error { return s.node.AWS.DeleteKey(r.Args[0], done) })
}

func listAccessKeys(s *Server, r *Request) (*Reply, error) {
	user := ""
	if len(r.Args) > 0 {
		user = r.Args[0]
	}
	return table(s.node.AWS.ListKeys(user), nil, []string{"access_key_id", "user", "account", "source", "created", "last_used"})
}

// importDefinitions also takes the access keys that a file may have.
func importDefinitions(s *Server, r *Request) (*Reply, error) {
	return s.change(func(t *broker.Turn, done done) error {
		if err := s.node.Core.ImportDefinitions(t, r.Body, "", nil); err != nil {
			return err
		}
		return s.node.AWS.ImportKeys(r.Body, done)
	})
}
