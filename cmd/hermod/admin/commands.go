package admin

// Spec describes one command to ctl's user.
type Spec struct {
	Name       string
	Args       string // usage
	Short      string
	Min, Max   int
	ReadsFile  bool // the first argument is a file sent as Request.Body
	WritesFile bool // Reply.Body goes to the file named by the first argument
}

// Commands are all commands in the order help shows them. The server has a
// function for each; a test compares the two.
var Commands = []Spec{
	{Name: "status", Short: "show the node's version, uptime, alarms and totals"},

	{Name: "cluster_status", Short: "members of the cluster as this node sees them"},
	{Name: "cluster_join", Args: "HOST:PORT [force]", Short: "give up what this node holds and join the cluster of that node", Min: 1, Max: 2},
	{Name: "cluster_leave", Args: "[NODE]", Short: "take a node, or this one, out of the cluster", Max: 1},
	{Name: "cluster_transfer", Args: "[NODE]", Short: "make another node the active one", Max: 1},
	{Name: "backup", Args: "FOLDER", Short: "write a verified copy of all data to a new folder on the node's machine", Min: 1, Max: 1},

	{Name: "add_user", Args: "NAME PASSWORD", Short: "create a user without permissions", Min: 2, Max: 2},
	{Name: "delete_user", Args: "NAME", Short: "delete a user", Min: 1, Max: 1},
	{Name: "change_password", Args: "NAME PASSWORD", Short: "set a user's password", Min: 2, Max: 2},
	{Name: "set_user_tags", Args: "NAME [TAG...]", Short: "replace a user's tags", Min: 1, Max: 16},
	{Name: "list_users", Short: "list users and tags"},

	{Name: "add_vhost", Args: "NAME", Short: "create a virtual host", Min: 1, Max: 1},
	{Name: "delete_vhost", Args: "NAME", Short: "delete a virtual host and everything in it", Min: 1, Max: 1},
	{Name: "list_vhosts", Short: "list virtual hosts"},
	{Name: "set_vhost_limits", Args: "JSON", Short: `limits of --vhost, like {"max-connections":10,"max-queues":100}`, Min: 1, Max: 1},
	{Name: "clear_vhost_limits", Short: "remove the limits of --vhost"},
	{Name: "set_user_limits", Args: "NAME JSON", Short: `limits of a user, like {"max-connections":10,"max-channels":100}`, Min: 2, Max: 2},
	{Name: "clear_user_limits", Args: "NAME", Short: "remove the limits of a user", Min: 1, Max: 1},

	{Name: "set_permissions", Args: "USER CONFIGURE WRITE READ", Short: "permission patterns of a user in --vhost", Min: 4, Max: 4},
	{Name: "clear_permissions", Args: "USER", Short: "take a user's permissions in --vhost away", Min: 1, Max: 1},
	{Name: "list_permissions", Short: "list permissions in --vhost"},
	{Name: "set_topic_permissions", Args: "USER EXCHANGE WRITE READ", Short: "routing key patterns of a user on a topic exchange", Min: 4, Max: 4},
	{Name: "clear_topic_permissions", Args: "USER", Short: "remove a user's topic permissions in --vhost", Min: 1, Max: 1},
	{Name: "list_topic_permissions", Short: "list topic permissions in --vhost"},

	{Name: "set_policy", Args: "NAME PATTERN DEFINITION", Short: "apply settings to all queues or exchanges whose name matches", Min: 3, Max: 3},
	{Name: "clear_policy", Args: "NAME", Short: "remove a policy", Min: 1, Max: 1},
	{Name: "list_policies", Short: "list policies of --vhost"},
	{Name: "set_operator_policy", Args: "NAME PATTERN DEFINITION", Short: "limits that users' policies cannot exceed", Min: 3, Max: 3},
	{Name: "clear_operator_policy", Args: "NAME", Short: "remove an operator policy", Min: 1, Max: 1},
	{Name: "list_operator_policies", Short: "list operator policies of --vhost"},

	{Name: "list_queues", Args: "[COLUMN...]", Short: "list queues of --vhost", Max: 32},
	{Name: "list_exchanges", Args: "[COLUMN...]", Short: "list exchanges of --vhost", Max: 32},
	{Name: "list_bindings", Args: "[COLUMN...]", Short: "list bindings of --vhost", Max: 32},
	{Name: "list_connections", Args: "[COLUMN...]", Short: "list client connections", Max: 32},
	{Name: "list_channels", Args: "[COLUMN...]", Short: "list sessions (AMQP channels)", Max: 32},
	{Name: "list_consumers", Args: "[COLUMN...]", Short: "list consumers of --vhost", Max: 32},
	{Name: "list_mqtt_sessions", Args: "[COLUMN...]", Short: "list MQTT sessions of --vhost, connected or not", Max: 32},
	{Name: "delete_mqtt_session", Args: "CLIENT_ID", Short: "end an MQTT session with its subscriptions and messages, and close its connection", Min: 1, Max: 1},
	{Name: "close_connection", Args: "NAME|ID EXPLANATION", Short: "close one client connection", Min: 1, Max: 2},
	{Name: "close_all_connections", Args: "EXPLANATION", Short: "close every client connection", Min: 1, Max: 1},

	{Name: "delete_queue", Args: "NAME", Short: "delete a queue of --vhost", Min: 1, Max: 1},
	{Name: "purge_queue", Args: "NAME", Short: "drop the ready messages of a queue", Min: 1, Max: 1},
	{Name: "pause_queue", Args: "NAME", Short: "stop delivering from a queue", Min: 1, Max: 1},
	{Name: "resume_queue", Args: "NAME", Short: "deliver from a paused queue again", Min: 1, Max: 1},

	{Name: "add_access_key", Args: "USER [ACCOUNT]", Short: "make an AWS access key of a user; its secret is shown once", Min: 1, Max: 2},
	{Name: "delete_access_key", Args: "ACCESS_KEY_ID", Short: "take an access key away, at once", Min: 1, Max: 1},
	{Name: "list_access_keys", Args: "[USER]", Short: "list access keys without their secrets", Max: 1},

	{Name: "import_definitions", Args: "FILE", Short: "load a RabbitMQ definitions.json", Min: 1, Max: 1, ReadsFile: true},
	{Name: "export_definitions", Args: "[FILE]", Short: "write definitions.json to FILE or standard output", Max: 1, WritesFile: true},
	{Name: "set_alarm", Args: "memory|disk on|off", Short: "raise or clear an alarm by hand: publishers are blocked while it is on", Min: 2, Max: 2},
}
