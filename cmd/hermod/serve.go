package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/bridge/sqs"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/cmd/hermod/admin"
	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/ha"
	"github.com/hermodmq/hermod/listeners/amqp"
	"github.com/hermodmq/hermod/listeners/http"
	"github.com/hermodmq/hermod/listeners/mqtt"
	"github.com/hermodmq/hermod/listeners/openwire"
	"github.com/hermodmq/hermod/listeners/stomp"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/persistence"
)

const (
	tickInterval  = 10 * time.Millisecond
	stallTimeout  = 30 * time.Second // a client that reads nothing for so long is given up
	drainDeadline = 10 * time.Second // how long clients get to leave on SIGTERM
)

func serveCommand() *cobra.Command {
	var src config.Source
	var printConfig bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printConfig {
				fmt.Println(strings.Join(config.Keys(), "\n"))
				return nil
			}
			src.Environ = os.Getenv
			c, err := config.Load(src)
			if err != nil {
				return err
			}
			return serve(c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&src.File, "config", "", "YAML file")
	f.StringVar(&src.DataDir, "data-dir", "", "folder of everything that is kept (default ./data)")
	f.StringArrayVar(&src.Set, "set", nil, "key=value; may be repeated")
	f.BoolVar(&printConfig, "print-config", false, "print every key with its default and exit")
	return cmd
}

// node is what a running broker consists of, in the order in which it is
// opened; it is closed in the reverse order.
type node struct {
	config *config.Config
	log    *slog.Logger

	raft   *ha.Log
	store  *persistence.Store
	core   *broker.Broker
	server *transport.Server
	aws    *endpoint.Endpoint
	sqs    atomic.Pointer[sqs.Service] // for metrics; nil on a standby
	mqtt   *mqtt.Server                // for metrics
	certs  *certificates               // nil until a TLS listener wants them
	stop   []func() error              // metrics and admin

	cluster clustering
	web     swapHandler   // of the metrics listener
	admin   *admin.Server // nil without a socket

	disk struct {
		mu   sync.Mutex
		low  bool
		core *broker.Broker // nil until it has recovered
	}

	ticker chan struct{} // closed to stop the clock
	ticked chan struct{} // closed when it has stopped
}

// serve is the story of a node: open, serve until a signal, drain, checkpoint.
func serve(c *config.Config) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ballast := tuneHeap()
	defer runtime.KeepAlive(ballast)

	n := &node{config: c, log: newLogger(c.Log)}
	slog.SetDefault(n.log)
	clockOffset = c.Node.ClockOffset
	if c.HA.Enabled {
		return n.serveCluster(signals)
	}
	if err := n.open(); err != nil {
		return err
	}
	fmt.Printf("hermod %s ready\n", version)

	<-signals
	n.stopping(signals)
	return n.close()
}

// stopping says so, and that a second signal is taken literally.
func (n *node) stopping(signals <-chan os.Signal) {
	n.log.Info("stopping; a second signal ends the process at once")
	go func() {
		<-signals
		os.Exit(1)
	}()
}

func (n *node) open() error {
	return inOrder(n.openStore, n.serveClients, n.openMetrics, n.openAdmin)
}

// serveClients recovers the core, which on a cluster waits until this node is
// the active one, and opens what clients connect to.
func (n *node) serveClients() error {
	return inOrder(n.openCore, n.closeRelays, n.openServices, n.openServer, n.openListeners, n.openMQTT, n.openSTOMP, n.openOpenWire, n.openAWS)
}

func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// openLog opens the log, and on a cluster the port for the other nodes.
func (n *node) openLog() error {
	c := n.config
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return err
	}
	options := ha.Options{
		Dir:     filepath.Join(c.DataDir, logFolder),
		NodeID:  c.Node.Name,
		Confirm: ha.Confirm(c.Persistence.Confirm),
		Logger:  n.log.With("component", "log"),
		Fatal:   n.fatal,
		Version: version,
	}
	if err := n.openPeers(&options); err != nil {
		return err
	}
	var err error
	if n.raft, err = ha.Open(options); err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	return nil
}

// openStore opens the log and, over it, the store.
func (n *node) openStore() error {
	c := n.config
	key, err := masterKey(c.Persistence.EncryptionKeyFile)
	if err != nil {
		return err
	}
	if err := n.openLog(); err != nil {
		return err
	}
	n.store, err = persistence.Open(persistence.Options{
		Dir:         filepath.Join(c.DataDir, storeFolder),
		Log:         n.raft,
		Cluster:     c.HA.Enabled,
		LogKeep:     n.logKeep(),
		Clock:       wallClock,
		Confirm:     persistence.Confirm(c.Persistence.Confirm),
		SegmentSize: int64(c.Persistence.SegmentSize),
		MasterKey:   key,
		DiskLow:     uint64(c.Limits.DiskFree),
		OnAlarm:     n.diskAlarm,
		NewBells:    func() any { return transport.NewBatch() },
		FlushBells:  func(b any) { b.(*transport.Batch).Flush() },
		Logger:      n.log.With("component", "store"),
		Fatal:       n.fatal,
	})
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	return nil
}

// fatal ends the process when what is on disk is no longer known: nothing may
// be confirmed any more, and a restart recovers what was.
func (n *node) fatal(err error) {
	if n.config.HA.Enabled && errors.Is(err, ha.ErrLeadershipLost) {
		n.deposed()
		return
	}
	n.log.Error("the store failed; ending the process so that nothing unsafe is confirmed", "error", err)
	hangUp()
	os.Exit(3)
}

// diskAlarm may come before the core is there, which then begins with it.
func (n *node) diskAlarm(on bool, free uint64) {
	n.log.Warn("disk space", "low", on, "free_bytes", free)
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.low = on
	n.alarmCore(n.disk.core)
}

// watchDisk lets core know about the disk from now on.
func (n *node) watchDisk(core *broker.Broker) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.core = core
	n.alarmCore(core)
}

// diskLow says that the free space of this node's disk is below its limit. On a
// standby nothing comes of it until it is full.
func (n *node) diskLow() bool {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return n.disk.low
}

func (n *node) alarmCore(core *broker.Broker) {
	if core == nil {
		return
	}
	t := newTurn()
	core.SetAlarm(t, broker.AlarmDisk, n.disk.low)
	endTurn(t)
}

// openCore recovers the core from the store and starts its clock.
func (n *node) openCore() error {
	c := n.config
	options := broker.Options{
		Store:           n.store,
		Node:            c.Node.Name,
		Logger:          n.log.With("component", "core"),
		Now:             wallClock().UnixMilli(),
		MemoryLimit:     c.Limits.Memory.Of(machineMemory()),
		MaxMessageSize:  int64(c.Limits.MaxMessageSize),
		DefaultUser:     c.Auth.DefaultUser,
		DefaultPassword: c.Auth.DefaultPassword,
		LoopbackUsers:   c.Auth.LoopbackUsers,

		MaxRetained: c.MQTT.MaxRetained, MaxRetainedBytes: int64(c.MQTT.MaxRetainedBytes),
		Images: n.images(),
	}
	switch c.Auth.Anonymous {
	case config.Off:
	case config.On:
		options.Anonymous = c.Auth.DefaultUser
	default:
		options.Anonymous = c.Auth.Anonymous
	}
	options.Converters[broker.FormatAMQP091] = amqp.Converter{}
	options.Converters[broker.FormatMQTT] = mqtt.Converter{}
	options.Converters[broker.FormatSTOMP] = stomp.Converter{}
	options.Converters[broker.FormatOpen] = openwire.Converter{}
	options.Converters[broker.FormatAWS] = message.Converter{}
	core, err := broker.New(options)
	if err != nil {
		return err
	}
	t := newTurn()
	defer endTurn(t)
	if err := core.Recover(t); err != nil {
		return fmt.Errorf("recovering: %w", err)
	}
	if name := c.Definitions.Import; name != "" {
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := core.ImportDefinitions(t, body, "", nil); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	n.core = core
	n.watchDisk(core)
	n.ticker, n.ticked = make(chan struct{}), make(chan struct{})
	go n.tick()
	return nil
}

// tick is the core's clock.
func (n *node) tick() {
	defer close(n.ticked)
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	t := newTurn()
	for {
		select {
		case now := <-ticker.C:
			t.Now = now.Add(clockOffset).UnixMilli()
			n.core.Tick(t)
			endTurn(t)
		case <-n.ticker:
			return
		}
	}
}

func (n *node) openServer() (err error) {
	n.server, err = transport.New(transport.Options{
		Loops:          n.config.Listeners.Loops,
		MaxConnections: n.config.Limits.MaxConnections,
		Clock:          wallClock,
		Logger:         n.log.With("component", "transport"),
	})
	return err
}

func (n *node) openListeners() error {
	c := n.config
	protocol := amqp.Options{
		Product: c.AMQP.Product, Version: c.AMQP.Version, ClusterName: c.Node.Name,
		Information: "Hermod " + version,
		ChannelMax:  uint16(c.AMQP.ChannelMax), FrameMax: uint32(c.AMQP.FrameMax), Heartbeat: uint16(c.AMQP.Heartbeat),
		Anonymous: c.Auth.Anonymous != config.Off,
		Logger:    n.log.With("component", "amqp"),
	}
	if c.AMQP.Heartbeat == 0 {
		protocol.Heartbeat = amqp.NoHeartbeat
	}
	l := c.Listeners.AMQP
	plain := transport.Listener{Name: "amqp", Address: l.Address, ProxyProtocol: l.ProxyProtocol, StallTimeout: stallTimeout, New: amqp.New(n.core, protocol)}
	if err := n.listen(plain); err != nil {
		return err
	}
	if l.TLSAddress == config.Off {
		return nil
	}
	secure, err := n.tlsConfig()
	if err != nil {
		return err
	}
	plain.Name, plain.Address, plain.TLS = "amqps", l.TLSAddress, secure
	return n.listen(plain)
}

// listen opens one listener and says where, on a line that scripts can read.
func (n *node) listen(l transport.Listener) error {
	if l.Address == config.Off {
		return nil
	}
	l.Identify = clientName(n.config.TLS.ClientName)
	l.ProxyTrusted, _ = n.config.Listeners.TrustedProxies() // checked with the configuration
	addr, err := n.server.Listen(l)
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	n.announce(l.Name, addr)
	return nil
}

func (n *node) announce(name string, addr net.Addr) {
	fmt.Printf("listener %s %s\n", name, addr)
}

// openMetrics serves metrics and health, in the clear, over TLS or both.
func (n *node) openMetrics() error {
	l := n.config.Listeners.Metrics
	n.showMetrics()
	if err := n.openMetricsAt("metrics", l.Address, nil); err != nil || l.TLSAddress == config.Off {
		return err
	}
	secure, err := n.tlsConfig()
	if err != nil {
		return err
	}
	return n.openMetricsAt("metrics-tls", l.TLSAddress, negotiating(secure, "http/1.1"))
}

func (n *node) openMetricsAt(name, address string, secure *tls.Config) error {
	if address == config.Off {
		return nil
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listener %s: %w", name, err)
	}
	addr := ln.Addr()
	if secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	n.stop = append(n.stop, http.Serve(ln, &n.web, func(err error) { n.log.Error(name+" listener ended", "error", err) }))
	n.announce(name, addr)
	return nil
}

// showMetrics makes the metrics listener tell of what there is at present.
func (n *node) showMetrics() {
	n.web.set(n.clusterHealth(http.Handler(http.Options{
		Core: n.core, Extra: n.samples, Pprof: n.config.Listeners.Metrics.Pprof,
		Detail: map[string]func() []http.Sample{"/metrics/sqs": n.sqsSamples},
	})))
}

// samples are the store's and the transport's numbers for /metrics.
func (n *node) samples() []http.Sample {
	if n.store == nil {
		return n.clusterSamples() // a witness
	}
	st := n.store.Stats()
	list := []http.Sample{
		{Name: "hermod_store_log_bytes", Help: "Log since the last checkpoint", Value: float64(st.LogBytes)},
		{Name: "hermod_store_memtable_bytes", Help: "Entries pinned by messages not yet in segments", Value: float64(st.MemtableBytes)},
		{Name: "hermod_store_segments", Help: "Segment files", Value: float64(st.Segments)},
		{Name: "hermod_store_segment_bytes", Help: "Size of segment files", Value: float64(st.SegmentBytes)},
		{Name: "hermod_store_live_bytes", Help: "Unsettled messages in segments", Value: float64(st.LiveBytes)},
		{Name: "hermod_store_entries_total", Help: "Log entries applied", Counter: true, Value: float64(st.Entries)},
		{Name: "hermod_store_checkpoints_total", Help: "Checkpoints", Counter: true, Value: float64(st.Checkpoints)},
		{Name: "hermod_store_compactions_total", Help: "Segments rewritten because they were sparse", Counter: true, Value: float64(st.Compactions)},
		{Name: "hermod_store_corrupt_blocks_total", Help: "Blocks whose checksum was wrong", Counter: true, Value: float64(st.CorruptBlocks)},
		{Name: "hermod_store_lost_messages_total", Help: "Messages given up because of corruption", Counter: true, Value: float64(st.Lost)},
	}
	low := 0.0
	if n.diskLow() {
		low = 1
	}
	list = append(list, http.Sample{Name: "hermod_store_disk_low", Help: "1 while less than limits.disk_free is free, also on a standby", Value: low})
	list = append(list, n.clusterSamples()...)
	if n.config.HA.Enabled && !n.cluster.serving.Load() {
		return list // a standby
	}
	list = append(list, mqttSamples(n.mqtt)...)
	var accepted, refused uint64
	for _, l := range n.server.Stats() {
		accepted += l.Accepted
		refused += l.Refused
	}
	return append(list,
		http.Sample{Name: "rabbitmq_connections_opened_total", Help: "Connections accepted", Counter: true, Value: float64(accepted)},
		http.Sample{Name: "hermod_connections_refused_total", Help: "Connections refused at a limit", Counter: true, Value: float64(refused)})
}

func (n *node) openAdmin() error {
	ln, err := admin.Listen(n.config.DataDir)
	if err != nil {
		// Some file systems hold no sockets; clients can be served all the same.
		n.log.Error("no admin socket, ctl will not reach this node", "error", err)
		return nil
	}
	n.admin = admin.Serve(ln, n.adminNode())
	n.stop = append(n.stop, n.admin.Close)
	return nil
}

func (n *node) adminNode() admin.Node {
	return admin.Node{Core: n.core, Server: n.server, MQTT: n.mqtt, AWS: n.aws, Store: n.store, Version: version, Log: n.raft, Join: n.joinByHand, DataDir: n.config.DataDir, Clock: wallClock}
}

// close lets clients leave, then makes a checkpoint so that the next start is
// quick. Confirms already given are safe whatever happens here.
func (n *node) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainDeadline)
	defer cancel()
	var errs []error
	for _, stop := range n.stop {
		errs = append(errs, stop())
	}
	return errors.Join(append(errs,
		n.server.Shutdown(ctx),
		n.stopClock(),
		n.retire(),
		n.store.Close(),
		n.raft.Close(),
	)...)
}

func (n *node) stopClock() error {
	close(n.ticker)
	<-n.ticked
	return nil
}

// retire stores what only a clean stop knows.
func (n *node) retire() error {
	t := newTurn()
	defer endTurn(t)
	n.core.Retire(t)
	return nil
}

// newTurn makes a Turn for a goroutine of ours; endTurn ends each use of it.
func newTurn() *broker.Turn {
	return &broker.Turn{Now: wallClock().UnixMilli(), Bells: transport.NewBatch()}
}

func endTurn(t *broker.Turn) { t.Bells.(*transport.Batch).Flush() }

func newLogger(c config.Log) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	options := &slog.HandlerOptions{Level: levels[c.Level]}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// masterKey reads 32 bytes, raw, hex or base64; "" is no key.
func masterKey(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(raw) == 32 {
		return raw, nil
	}
	word := strings.TrimSpace(string(raw))
	if key, err := hex.DecodeString(word); err == nil && len(key) == 32 {
		return key, nil
	}
	if key, err := base64.StdEncoding.DecodeString(word); err == nil && len(key) == 32 {
		return key, nil
	}
	return nil, fmt.Errorf("%s: want a key of 32 bytes, raw, hex or base64", name)
}

// machineMemory is what the machine, or the control group around us, has.
func machineMemory() uint64 {
	var info unix.Sysinfo_t
	total := uint64(4 << 30)
	if err := unix.Sysinfo(&info); err == nil {
		total = uint64(info.Totalram) * uint64(info.Unit)
	}
	if raw, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		var limit uint64
		if _, err := fmt.Sscan(string(raw), &limit); err == nil && limit > 0 {
			total = min(total, limit)
		}
	}
	return total
}
