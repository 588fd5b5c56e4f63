// Package openwire serves OpenWire, the protocol of ActiveMQ's JMS clients.
package openwire
