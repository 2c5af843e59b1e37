// SPDX-License-Identifier: Apache-2.0

// Package cluster is a lab with Highwater on its hosts: what the demonstration, the
// end-to-end tests and the benchmarks break.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/supervisor/web"
	"highwater/test/lab"
)

// Config says how the cluster is set up. Zero durations are the program's defaults.
type Config struct {
	Lab       lab.Config
	Binary    string // highwater
	Authority string // vrrp by default; with lossless, quorum
	// Durability is best-effort by default. With lossless the supervisor's account has what
	// `highwater grants` gives it, and replication begins without semi-sync, whatever Lab says:
	// acknowledging is the supervisors' business.
	Durability     string
	WhenAlone      string // with lossless: stall or continue
	AdvertInterval time.Duration
	CheckInterval  time.Duration
	CheckTimeout   time.Duration
	CommitTimeout  time.Duration
	Lease          time.Duration
	PromoteTimeout time.Duration
	FenceTimeout   time.Duration
	NoWaitForLease bool
	KillServer     bool
	VIPs           []netip.Prefix // lab.VIP/32 by default
	HooksBefore    [][]string     // argv of each
	HooksAfter     [][]string
	Extra          string // more YAML at the end of every configuration
	LogLevel       string
}

// Fast are the settings of the benchmarks.
func Fast(c Config) Config {
	c.AdvertInterval, c.CheckInterval, c.CheckTimeout = 100*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	return c
}

// Cluster is a running one.
type Cluster struct {
	*lab.Lab
	config      Config
	supervisors map[string]*lab.Process
}

// WebPort is where every supervisor shows its status.
const WebPort = 7476

const configText = `
node: {{.Node}}
cluster:
  name: lab
  secret_file: {{.Dir}}/secret
  nodes:
{{- range $i, $h := .Servers}}
    - {name: {{$h.Name}}, address: {{$h.Address}}, priority: {{priority $i}}}
{{- end}}
{{- range .Witnesses}}
    - {name: {{.Name}}, address: {{.Address}}, witness: true}
{{- end}}
election:
  authority: {{.Authority}}
  interface: eth0
  vrid: 51
{{- if .AdvertInterval}}
  advert_interval: {{.AdvertInterval}}
{{- end}}
vip:
  addresses: {{json .VIPs}}
{{- if .Lease}}
  lease: {{.Lease}}
{{- end}}
durability: {mode: {{.Durability}}{{if .WhenAlone}}, when_alone: {{.WhenAlone}}{{end}}}
mysql:
  address: {{or .Socket "/nowhere"}}
  user: highwater
  password_file: {{.Dir}}/mysql.password
  replication: {user: "repl-{node}", password_file: {{.Dir}}/repl.password}
check:
  fall: 1
{{- if .CheckInterval}}
  interval: {{.CheckInterval}}
{{- end}}
{{- if .CheckTimeout}}
  timeout: {{.CheckTimeout}}
{{- end}}
{{- if .CommitTimeout}}
  commit_timeout: {{.CommitTimeout}}
{{- end}}
promote:
  wait_for_lease: {{not .NoWaitForLease}}
{{- if .PromoteTimeout}}
  timeout: {{.PromoteTimeout}}
{{- end}}
  hooks:
    before: {{json .HooksBefore}}
    after: {{json .HooksAfter}}
fencing:
  kill_server: {{.KillServer}}
{{- if .FenceTimeout}}
  timeout: {{.FenceTimeout}}
{{- end}}
web: {listen: ":7476"}
log: {level: {{.LogLevel}}}
state_dir: {{.Dir}}/state
{{.Extra}}
`

var configTemplate = template.Must(template.New("config").Funcs(template.FuncMap{
	"priority": func(i int) int { return 120 - 10*i },
	"json": func(v any) (string, error) { // YAML's flow style
		b, err := json.Marshal(v)
		if string(b) == "null" {
			b = []byte("[]")
		}
		return string(b), err
	},
}).Parse(strings.TrimPrefix(configText, "\n")))

// New makes the lab, bootstraps replication and writes every host's configuration. No
// supervisor runs yet.
func New(ctx context.Context, c Config) (*Cluster, error) {
	if c.LogLevel == "" {
		c.LogLevel = "info"
	}
	if c.Durability == "" {
		c.Durability = configs.BestEffort
	}
	if c.Authority == "" {
		c.Authority = configs.AuthorityVRRP
		if c.Durability == configs.Lossless {
			c.Authority = configs.AuthorityQuorum
		}
	}
	if c.Durability == configs.Lossless {
		c.Lab.SemiSync = false
		c.Lab.ControlGrants = []string{} // see grant
	}
	if c.VIPs == nil {
		c.VIPs = []netip.Prefix{netip.PrefixFrom(lab.VIP, 32)}
	}
	binary, err := filepath.Abs(c.Binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("find the program: %w", err)
	}
	c.Binary = binary
	l, err := lab.New(ctx, c.Lab)
	if err != nil {
		return nil, err
	}
	cl := &Cluster{Lab: l, config: c, supervisors: map[string]*lab.Process{}}
	err = l.Bootstrap(ctx)
	if err == nil && c.Durability == configs.Lossless {
		err = cl.grant(ctx)
	}
	if err := errors.Join(err, cl.configure()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return cl, nil
}

// grant gives the accounts what `highwater grants` prints for lossless, and no more.
func (c *Cluster) grant(ctx context.Context) error {
	primary := c.Hosts()[0]
	v, err := mysqlcheck.ServerVersion(ctx, primary.Server.DB())
	if err != nil {
		return err
	}
	accounts := mysqlcheck.Accounts{
		Supervisor: mysqlcheck.Account{User: lab.Control.User, Host: "%", Password: lab.Control.Password},
		Lossless:   true,
	}
	for _, h := range c.Hosts() {
		accounts.Replication = append(accounts.Replication,
			mysqlcheck.Account{User: h.ReplicationUser(), Host: "%", Password: lab.ReplicationPassword})
	}
	if err := primary.Server.Exec(ctx, mysqlcheck.Grants(v, accounts)...); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return c.WaitReplicas(ctx, primary, c.Hosts()[1:]...)
}

// configure writes each host's files.
func (c *Cluster) configure() error {
	for _, h := range c.Supervised() {
		dir := c.dir(h)
		socket := ""
		if h.Server != nil {
			socket = h.Server.Socket()
		}
		if err := os.MkdirAll(filepath.Join(dir, "state"), 0o750); err != nil {
			return err
		}
		var text strings.Builder
		err := configTemplate.Execute(&text, struct {
			Config
			Node, Dir, Socket  string
			Servers, Witnesses []*lab.Host
		}{c.config, h.Name(), dir, socket, c.Hosts(), c.Witnesses()})
		if err != nil {
			return err
		}
		files := map[string]string{
			"secret":         strings.Repeat("0123456789abcdef", 3),
			"highwater.yaml": text.String(),
		}
		if h.Server != nil {
			files["mysql.password"], files["repl.password"] = lab.Control.Password, lab.ReplicationPassword
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// Supervised are the hosts with a supervisor: those with a server, and the witnesses.
func (c *Cluster) Supervised() []*lab.Host { return slices.Concat(c.Hosts(), c.Witnesses()) }

func (c *Cluster) dir(h *lab.Host) string { return filepath.Join(h.Dir(), "highwater") }

// ConfigFile is a host's configuration.
func (c *Cluster) ConfigFile(h *lab.Host) string { return filepath.Join(c.dir(h), "highwater.yaml") }

// StateDir is a host's state directory.
func (c *Cluster) StateDir(h *lab.Host) string { return filepath.Join(c.dir(h), "state") }

// LogFile is where a host's supervisor logs.
func (c *Cluster) LogFile(h *lab.Host) string { return filepath.Join(c.dir(h), "highwater.log") }

// StartAll starts every supervisor and waits until the first host is primary and everybody
// else follows it.
func (c *Cluster) StartAll(ctx context.Context) error {
	for _, h := range c.Supervised() {
		if err := c.StartSupervisor(h); err != nil {
			return err
		}
	}
	_, err := c.WaitPrimary(ctx, c.Hosts()[0].Name())
	return err
}

// StartSupervisor starts a host's supervisor.
func (c *Cluster) StartSupervisor(h *lab.Host) error {
	log, err := os.OpenFile(c.LogFile(h), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.config.Binary, "run", "--config", c.ConfigFile(h))
	cmd.Stdout, cmd.Stderr = log, log
	// Beside a server there are its programs: one saves errant transactions.
	if program, err := lab.Program("mysqlbinlog"); err == nil {
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	p, err := h.Start(cmd)
	if err != nil {
		return fmt.Errorf("start the supervisor of %s: %w", h.Name(), err)
	}
	c.supervisors[h.Name()] = p
	return nil
}

// Supervisor is the process that StartSupervisor started last on a host.
func (c *Cluster) Supervisor(h *lab.Host) *lab.Process { return c.supervisors[h.Name()] }

// Command runs a subcommand of highwater on a host.
func (c *Cluster) Command(ctx context.Context, h *lab.Host, args ...string) (string, error) {
	argv := append([]string{c.config.Binary, args[0], "--config", c.ConfigFile(h)}, args[1:]...)
	return h.Run(ctx, argv...)
}

// Get asks a host's web listener from the client host.
func (c *Cluster) Get(ctx context.Context, h *lab.Host, path string) (code int, body []byte, err error) {
	client := http.Client{
		Timeout: time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.Client().Dial(ctx, network, address)
		}},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", h.Address(), WebPort, path), nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// Status is the cluster as a host's supervisor sees it.
func (c *Cluster) Status(ctx context.Context, h *lab.Host) (web.Status, error) {
	var s web.Status
	_, body, err := c.Get(ctx, h, "/v1/status")
	if err != nil {
		// The client may not find a host that has just come back; the local socket always does.
		text, commandErr := c.Command(ctx, h, "status", "--json")
		if commandErr != nil {
			return s, errors.Join(err, commandErr)
		}
		body = []byte(text)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("decode the status of %s: %w", h.Name(), err)
	}
	return s, nil
}

// WaitPrimary waits until a host says that it is primary and every other running one follows
// it; with an empty name any host will do. It returns the status that says so.
func (c *Cluster) WaitPrimary(ctx context.Context, name string) (web.Status, error) {
	var last web.Status
	for {
		for _, h := range c.Hosts() {
			if name != "" && h.Name() != name {
				continue
			}
			s, err := c.Status(ctx, h)
			if err != nil {
				continue
			}
			last = s
			if s.Primary == h.Name() && s.Host(h.Name()).Role == "primary" && c.followed(s) {
				return s, nil
			}
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("wait for primary %q: %w (last seen: %s)", name, ctx.Err(), last.Summary)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// followed reports whether every host that is up replicates from the primary or is held.
func (c *Cluster) followed(s web.Status) bool {
	for _, h := range s.Hosts {
		if h.Up && h.Name != s.Primary && h.Health == "alive" && !h.Held && (h.Source != s.Primary || !h.Replicating) {
			return false
		}
	}
	return true
}
