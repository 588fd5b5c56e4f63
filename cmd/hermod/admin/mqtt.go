package admin

import (
	"fmt"

	"github.com/hermodmq/hermod/broker"
)

func listMQTTSessions(s *Server, r *Request) (*Reply, error) {
	return table(s.node.MQTT.ListSessions(r.VHost), r.Args, []string{"client_id", "connected", "protocol", "queue"})
}

func deleteMQTTSession(s *Server, r *Request) (*Reply, error) {
	return s.change(func(t *broker.Turn, done done) error {
		if !s.node.MQTT.EndSession(t, r.VHost, r.Args[0]) {
			return fmt.Errorf("no MQTT session %q in virtual host %q", r.Args[0], r.VHost)
		}
		s.node.Core.StoreFacts(nil, done)
		return nil
	})
}
