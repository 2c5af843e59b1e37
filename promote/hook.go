// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// defaultHookTimeout bounds one hook where Hooks.Timeout is 0.
	defaultHookTimeout = 10 * time.Second
	// hookOutput is how much of a hook's output is kept, its end, in bytes.
	hookOutput = 64 << 10
	// hookDrain is how long after its end a hook's output is still read: a child
	// that it left in the background may hold the pipe open for ever.
	hookDrain = 250 * time.Millisecond
)

// Hooks are the programs run around a promotion, one after the other. Each is an
// argv list and never passes a shell.
type Hooks struct {
	// Before run when the applier is drained and before writes open. One that
	// exits non-zero vetoes the promotion, with its last line as the reason.
	Before [][]string
	// After run once writes are open. Their failure is reported and changes
	// nothing: to close a good primary again would only lengthen the outage.
	After [][]string
	// Timeout bounds each of them; 0 means 10 s. At its end the hook's whole
	// process group is killed.
	Timeout time.Duration
}

// Endpoint is a node and where its server is reached.
type Endpoint struct {
	Node string `json:"node"`
	Host string `json:"host"`
	Port uint16 `json:"port"`
}

// address is host:port, or empty without a host.
func (e Endpoint) address() string {
	if e.Host == "" {
		return ""
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// Kinds of FailoverInfo.
const (
	KindFailover   = "failover"   // begun by Highwater
	KindSwitchover = "switchover" // the old primary obeyed and is drained
	KindForced     = "forced"     // a failover begun by an operator
)

// FailoverInfo tells hooks what is going on. It is what they get as JSON on
// stdin, and flattened in the environment.
type FailoverInfo struct {
	ID       string     `json:"id"` // of the failover, in the journal
	Kind     string     `json:"kind"`
	Reason   string     `json:"reason"` // a reason code, such as server_dead
	Detail   string     `json:"detail"` // one sentence for people
	Cluster  string     `json:"cluster"`
	Term     uint64     `json:"term"`
	Old      Endpoint   `json:"old_primary"`
	New      Endpoint   `json:"new_primary"`
	VIPs     []string   `json:"vips"`
	Replicas []Endpoint `json:"replicas"`      // of the new primary, once they are re-pointed
	Lost     []Endpoint `json:"lost_replicas"` // that did not answer
}

// hookStage is which hook it is: the value of HIGHWATER_HOOK.
type hookStage string

const (
	hookBefore  hookStage = "before"
	hookAfter   hookStage = "after"
	hookCommand hookStage = "command"
)

// hookInput is the JSON on a hook's stdin.
type hookInput struct {
	Hook hookStage `json:"hook"`
	FailoverInfo
	BinlogFile string `json:"binlog_file,omitempty"` // of the new primary when writes opened; after only
	BinlogPos  uint64 `json:"binlog_position,omitempty"`
}

// HookError says that a hook did not exit with 0.
type HookError struct {
	Program string // argv[0]
	Line    string // the last line that it printed
	Err     error
}

// Error names the program and quotes its last line.
func (e *HookError) Error() string {
	if e.Line == "" {
		return fmt.Sprintf("run hook %s: %v", e.Program, e.Err)
	}
	return fmt.Sprintf("run hook %s: %v: %s", e.Program, e.Err, e.Line)
}

// Unwrap returns what ended the hook.
func (e *HookError) Unwrap() error { return e.Err }

// runHooks runs each of argvs until one fails.
func runHooks(ctx context.Context, argvs [][]string, in hookInput, timeout time.Duration, log *slog.Logger) error {
	for _, argv := range argvs {
		if err := runHook(ctx, argv, in, timeout, log); err != nil {
			return err
		}
	}
	return nil
}

// runHook runs one program with in on its stdin and in its environment. The
// environment has nothing else but PATH: what is not there cannot leak.
func runHook(ctx context.Context, argv []string, in hookInput, timeout time.Duration, log *slog.Logger) error {
	if len(argv) == 0 {
		return &HookError{Err: errors.New("empty argv")}
	}
	if timeout <= 0 {
		timeout = defaultHookTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("killed after %v", timeout))
	defer cancel()
	stdin, err := json.Marshal(in)
	if err != nil {
		return &HookError{Program: argv[0], Err: err}
	}
	var out tail
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(append(stdin, '\n'))
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = hookEnviron(in)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = hookDrain

	start := time.Now()
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it exited with 0 and left a child in the background
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelError
	}
	log.Log(ctx, level, "hook ended", "hook", string(in.Hook), "program", argv[0],
		"took", time.Since(start), "error", err, "output", out.String())
	if err != nil {
		return &HookError{Program: argv[0], Line: out.lastLine(), Err: err}
	}
	return nil
}

// hookEnviron flattens in: HIGHWATER_* and, so that scripts written for
// orchestrator keep working, its ORC_*.
func hookEnviron(in hookInput) []string {
	command := map[string]string{
		KindSwitchover: "graceful-master-takeover",
		KindForced:     "force-master-failover",
	}[in.Kind]
	port := func(e Endpoint) string {
		if e.Port == 0 {
			return ""
		}
		return strconv.Itoa(int(e.Port))
	}
	term := strconv.FormatUint(in.Term, 10)
	coordinates := ""
	if in.BinlogFile != "" {
		coordinates = in.BinlogFile + ":" + strconv.FormatUint(in.BinlogPos, 10)
	}
	env := []string{"PATH=" + os.Getenv("PATH")}
	for _, pair := range [][2]string{
		{"HIGHWATER_HOOK", string(in.Hook)},
		{"HIGHWATER_ID", in.ID},
		{"HIGHWATER_KIND", in.Kind},
		{"HIGHWATER_REASON", in.Reason},
		{"HIGHWATER_DETAIL", in.Detail},
		{"HIGHWATER_CLUSTER", in.Cluster},
		{"HIGHWATER_TERM", term},
		{"HIGHWATER_OLD_PRIMARY", in.Old.Node},
		{"HIGHWATER_OLD_PRIMARY_HOST", in.Old.Host},
		{"HIGHWATER_OLD_PRIMARY_PORT", port(in.Old)},
		{"HIGHWATER_NEW_PRIMARY", in.New.Node},
		{"HIGHWATER_NEW_PRIMARY_HOST", in.New.Host},
		{"HIGHWATER_NEW_PRIMARY_PORT", port(in.New)},
		{"HIGHWATER_VIPS", strings.Join(in.VIPs, ",")},
		{"HIGHWATER_REPLICAS", addresses(in.Replicas)},
		{"HIGHWATER_LOST_REPLICAS", addresses(in.Lost)},

		// Highwater moves a role and not a broken instance, so to orchestrator's
		// scripts each one is a dead master; a switchover is one there too, told
		// apart by ORC_COMMAND.
		{"ORC_FAILURE_TYPE", "DeadMaster"},
		{"ORC_INSTANCE_TYPE", "master"},
		{"ORC_IS_MASTER", "true"},
		{"ORC_IS_CO_MASTER", "false"},
		{"ORC_FAILURE_DESCRIPTION", in.Detail},
		{"ORC_COMMAND", command},
		{"ORC_FAILED_HOST", in.Old.Host},
		{"ORC_FAILED_PORT", port(in.Old)},
		{"ORC_FAILURE_CLUSTER", in.Old.address()},
		{"ORC_FAILURE_CLUSTER_ALIAS", in.Cluster},
		{"ORC_FAILURE_CLUSTER_DOMAIN", ""},
		{"ORC_COUNT_REPLICAS", strconv.Itoa(len(in.Replicas))},
		{"ORC_IS_DOWNTIMED", "false"},
		{"ORC_AUTO_MASTER_RECOVERY", "true"},
		{"ORC_AUTO_INTERMEDIATE_MASTER_RECOVERY", "false"},
		{"ORC_ORCHESTRATOR_HOST", in.New.Host},
		{"ORC_RECOVERY_UID", in.ID},
		{"ORC_IS_SUCCESSFUL", strconv.FormatBool(in.Hook == hookAfter)},
		{"ORC_LOST_REPLICAS", addresses(in.Lost)},
		{"ORC_REPLICA_HOSTS", addresses(in.Replicas)},
		{"ORC_SUCCESSOR_HOST", in.New.Host},
		{"ORC_SUCCESSOR_PORT", port(in.New)},
		{"ORC_SUCCESSOR_BINLOG_COORDINATES", coordinates},
		{"ORC_SUCCESSOR_ALIAS", in.New.Node},
	} {
		env = append(env, pair[0]+"="+pair[1])
	}
	return env
}

// addresses is the comma-separated host:port of each.
func addresses(endpoints []Endpoint) string {
	list := make([]string, len(endpoints))
	for i, e := range endpoints {
		list[i] = e.address()
	}
	return strings.Join(list, ",")
}

// tail is a writer that keeps the last hookOutput bytes.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - hookOutput; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }

// lastLine returns the last line that is not blank.
func (t *tail) lastLine() string {
	text := bytes.TrimSpace(t.kept)
	return string(bytes.TrimSpace(text[bytes.LastIndexByte(text, '\n')+1:]))
}
