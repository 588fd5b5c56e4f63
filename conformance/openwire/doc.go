// Package openwire runs the Java scenarios of OpenWire and JMS against a
// broker: hermod, started by the harness, or the one that BROKER_URL names.
//
// The scenarios are in java/, one class per chapter of the checklist, each
// naming its line (OW-16). They are built twice from one source: with
// activemq-client 5.18 (javax.jms) and 6.x (jakarta.jms); the classes of the
// first also run with Debian's 5.17.2 (package libactivemq-java) where that is
// installed. Every scenario is a subtest here. So is every test of JORAM's suite
// for JMS 1.1, a library of others that knows javax.jms only.
//
//	RUN           a regular expression over "OW-16 Class.method" and "JORAM Class.method"
//	CLIENTS       which of javax, jakarta, debian to run (default: all there are)
//	CHURN_SECONDS, CHURN_CONNECTIONS, CHURN_RATE, CHURN_FAILURES, FAILOVER_KILLS, TEMP_QUEUES, FIFO_MESSAGES
//	              lengthen what is short by default
//	BROKER_URL    tcp://host:port of another broker, with BROKER_KIND=activemq;
//	              STOMP_ADDR, MQTT_ADDR, AMQP_ADDR where it serves those too
//	BROKER_CONTROL a command for it that takes kill, start or pid as its last
//	              argument: start returns when it serves
//
// Differences of other brokers are listed in deviations.txt.
package openwire
