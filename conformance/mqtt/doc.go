// Package mqtt is the black-box conformance suite for MQTT 3.1, 3.1.1 and 5.0:
// numbered statements (MQTT-n) about what a client sees, each with at least one
// test against a hermod process. A raw client sends bytes no library would, the
// Eclipse clients for Go stand for what users run, and an AMQP client looks at
// the same messages from the other side.
//
// HERMOD_BIN names the binary; without it the suite builds one. The suite also
// compares the listener's codec with that of another implementation, which is
// why this module, and no other, knows about that one.
package mqtt
