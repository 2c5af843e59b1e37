// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sh is an argv that runs a script with sh.
func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func runScript(t *testing.T, script string, in hookInput) error {
	t.Helper()
	return runHook(t.Context(), sh(script), in, time.Minute, slog.New(slog.DiscardHandler))
}

var testFailover = FailoverInfo{
	ID: "7f3a", Kind: KindFailover, Reason: "server_dead", Detail: "db1's server is gone", Cluster: "orders", Term: 7,
	Old:      Endpoint{"db1", "10.0.0.11", 3306},
	New:      Endpoint{"db2", "10.0.0.12", 3307},
	VIPs:     []string{"10.0.0.100/32", "fd00::100/128"},
	Replicas: []Endpoint{{"db3", "10.0.0.13", 3306}, {"db4", "fd00::14", 3306}},
	Lost:     []Endpoint{{"db5", "10.0.0.15", 3306}},
}

func TestHookEnvironment(t *testing.T) {
	t.Setenv("HIGHWATER_TEST_SECRET", "hunter2")
	file := filepath.Join(t.TempDir(), "env")
	in := hookInput{Hook: hookAfter, FailoverInfo: testFailover, BinlogFile: "binlog.000003", BinlogPos: 1234}
	if err := runScript(t, "env >"+file, in); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] = value
	}
	for _, ofShell := range []string{"PWD", "SHLVL", "_", "OLDPWD"} {
		delete(got, ofShell)
	}
	want := map[string]string{
		"PATH":                                  os.Getenv("PATH"),
		"HIGHWATER_HOOK":                        "after",
		"HIGHWATER_ID":                          "7f3a",
		"HIGHWATER_KIND":                        "failover",
		"HIGHWATER_REASON":                      "server_dead",
		"HIGHWATER_DETAIL":                      "db1's server is gone",
		"HIGHWATER_CLUSTER":                     "orders",
		"HIGHWATER_TERM":                        "7",
		"HIGHWATER_OLD_PRIMARY":                 "db1",
		"HIGHWATER_OLD_PRIMARY_HOST":            "10.0.0.11",
		"HIGHWATER_OLD_PRIMARY_PORT":            "3306",
		"HIGHWATER_NEW_PRIMARY":                 "db2",
		"HIGHWATER_NEW_PRIMARY_HOST":            "10.0.0.12",
		"HIGHWATER_NEW_PRIMARY_PORT":            "3307",
		"HIGHWATER_VIPS":                        "10.0.0.100/32,fd00::100/128",
		"HIGHWATER_REPLICAS":                    "10.0.0.13:3306,[fd00::14]:3306",
		"HIGHWATER_LOST_REPLICAS":               "10.0.0.15:3306",
		"ORC_FAILURE_TYPE":                      "DeadMaster",
		"ORC_INSTANCE_TYPE":                     "master",
		"ORC_IS_MASTER":                         "true",
		"ORC_IS_CO_MASTER":                      "false",
		"ORC_FAILURE_DESCRIPTION":               "db1's server is gone",
		"ORC_COMMAND":                           "",
		"ORC_FAILED_HOST":                       "10.0.0.11",
		"ORC_FAILED_PORT":                       "3306",
		"ORC_FAILURE_CLUSTER":                   "10.0.0.11:3306",
		"ORC_FAILURE_CLUSTER_ALIAS":             "orders",
		"ORC_FAILURE_CLUSTER_DOMAIN":            "",
		"ORC_COUNT_REPLICAS":                    "2",
		"ORC_IS_DOWNTIMED":                      "false",
		"ORC_AUTO_MASTER_RECOVERY":              "true",
		"ORC_AUTO_INTERMEDIATE_MASTER_RECOVERY": "false",
		"ORC_ORCHESTRATOR_HOST":                 "10.0.0.12",
		"ORC_RECOVERY_UID":                      "7f3a",
		"ORC_IS_SUCCESSFUL":                     "true",
		"ORC_LOST_REPLICAS":                     "10.0.0.15:3306",
		"ORC_REPLICA_HOSTS":                     "10.0.0.13:3306,[fd00::14]:3306",
		"ORC_SUCCESSOR_HOST":                    "10.0.0.12",
		"ORC_SUCCESSOR_PORT":                    "3307",
		"ORC_SUCCESSOR_BINLOG_COORDINATES":      "binlog.000003:1234",
		"ORC_SUCCESSOR_ALIAS":                   "db2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestHookEnvironmentOfSwitchover(t *testing.T) {
	info := testFailover
	info.Kind = KindSwitchover
	env := hookEnviron(hookInput{Hook: hookBefore, FailoverInfo: info})
	for _, want := range []string{"ORC_COMMAND=graceful-master-takeover", "ORC_IS_SUCCESSFUL=false", "ORC_SUCCESSOR_BINLOG_COORDINATES="} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in the environment", want)
		}
	}
}

func TestHookStdin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stdin")
	in := hookInput{Hook: hookBefore, FailoverInfo: testFailover}
	if err := runScript(t, "cat >"+file, in); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got hookInput
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Errorf("stdin (-want +got):\n%s", diff)
	}
	if !bytes.Contains(text, []byte(`"old_primary":{"node":"db1","host":"10.0.0.11","port":3306}`)) {
		t.Errorf("stdin has other names: %s", text)
	}
}

func TestHookIgnoresStdin(t *testing.T) {
	if err := runScript(t, "exec </dev/null", hookInput{FailoverInfo: testFailover}); err != nil {
		t.Error(err)
	}
}

func TestHookFailure(t *testing.T) {
	tests := []struct{ name, script, line string }{
		{"last line of stdout", "echo first; echo 'no, not now'; exit 3", "no, not now"},
		{"last line of stderr", "echo out; echo 'never' >&2; exit 1", "never"},
		{"blank lines after it", "echo reason; echo; echo '  '; exit 1", "reason"},
		{"silent", "exit 1", ""},
		{"long output", "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo end; exit 1", "end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := runScript(t, tt.script, hookInput{})
			var hook *HookError
			if !errors.As(err, &hook) {
				t.Fatalf("error %v, want a HookError", err)
			}
			if hook.Line != tt.line || hook.Program != "/bin/sh" {
				t.Errorf("%q said %q, want %q", hook.Program, hook.Line, tt.line)
			}
			if !strings.Contains(err.Error(), tt.line) {
				t.Errorf("error %q does not quote the hook", err)
			}
		})
	}
}

func TestHookNotFound(t *testing.T) {
	err := runHook(t.Context(), []string{"/no/such/hook"}, hookInput{}, time.Minute, slog.New(slog.DiscardHandler))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want os.ErrNotExist", err)
	}
}

func TestHookOutputIsLogged(t *testing.T) {
	var log bytes.Buffer
	err := runHook(t.Context(), sh("echo hello from the hook"), hookInput{Hook: hookBefore}, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "hello from the hook") {
		t.Errorf("%v, log: %s", err, &log)
	}
}

// At its deadline a hook ends with all it has started.
func TestHookDeadlineKillsGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	script := fmt.Sprintf("sleep 1000 & echo $! >%s.new; mv %s.new %s; echo waiting; wait", file, file, file)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- runHook(ctx, sh(script), hookInput{}, 300*time.Millisecond, slog.New(slog.DiscardHandler))
	}()
	defer cancel()
	var err error
	select {
	case err = <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("hook outlives its deadline")
	}
	var hook *HookError
	if !errors.As(err, &hook) || !strings.Contains(err.Error(), "killed after 300ms") || hook.Line != "waiting" {
		t.Errorf("error %v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Skip("the machine was too slow to start the child within the deadline")
	}
	var child int
	if _, err := fmt.Sscan(string(text), &child); err != nil {
		t.Fatal(err)
	}
	await(t, "the hook's child is gone", func() bool { return processEnded(child) })
}

// processEnded reports whether a process is gone or a zombie that nobody reaps.
func processEnded(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

// A child left in the background keeps neither the hook nor us waiting.
func TestHookLeavesDaemon(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	begin := time.Now()
	if err := runScript(t, "sleep 30 & echo $! >"+file, hookInput{}); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(string(text), &child); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon was ended: %v", err)
	}
}

func TestHooksStopAtTheFirstFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	argvs := [][]string{sh("echo 1 >>" + file), sh("echo 2 >>" + file + "; exit 1"), sh("echo 3 >>" + file)}
	if err := runHooks(t.Context(), argvs, hookInput{}, 0, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "1\n2\n" {
		t.Errorf("ran %q, %v", text, err)
	}
}

func TestHookEmptyArgv(t *testing.T) {
	if err := runHook(t.Context(), nil, hookInput{}, 0, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	}
}
