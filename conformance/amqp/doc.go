// Package amqpconf checks a broker against the numbered statements of the AMQP
// 0-9-1 acceptance checklist, from outside, with the stock Go client and,
// where that client cannot misbehave as needed, with frames written by hand.
//
// One test covers one statement and carries its number. Without settings the
// suite builds and starts hermod. With BROKER_ADDR it dials a running broker:
// BROKER_KIND=rabbitmq marks a run against the reference, whose known
// differences stand in [Deviations]; BROKER_PID allows memory to be sampled,
// BROKER_CTL names a command with rabbitmqctl's arguments, and BROKER_RESTART
// a command that kills the broker hard and starts it again.
//
// The guest account must be able to log in, and the limits be the defaults:
// frame_max 131072, channel_max 2047, messages of 16 MiB at most.
package amqpconf
