// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const password = "correct horse staple 1234"

// TestSecretIsNeverPrinted prints a secret in every way that is known.
func TestSecretIsNeverPrinted(t *testing.T) {
	s := Secret(password)
	all := Secrets{Cluster: s, MySQL: s, Replication: s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s", "%U"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &all)
		fmt.Fprintf(&out, verb+"\n", map[Secret]Secret{s: s})
		fmt.Fprintf(&out, verb+"\n", []any{s})
	}
	fmt.Fprintln(&out, fmt.Errorf("log in: %v", s), s.String(), s.GoString())
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("secret", "s", s, "all", all, "list", []Secret{s})
	}
	for _, v := range []any{s, all, map[string]Secret{"k": s}} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
		y, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(y)
	}
	printed := out.String()
	for _, leak := range []string{"horse", fmt.Sprintf("%x", "horse"), fmt.Sprintf("%X", "horse")} {
		if strings.Contains(printed, leak) {
			t.Errorf("the secret was printed, as %s:\n%s", leak, printed)
		}
	}
	if !strings.Contains(printed, redacted) {
		t.Errorf("nothing stands for the secret:\n%s", printed)
	}
	if s.Reveal() != password {
		t.Errorf("Reveal returned %q", s.Reveal())
	}
}

// secretFiles writes the three files and returns a config that names them.
func secretFiles(t *testing.T) (c *Config, dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"cluster", "mysql", "replication"} {
		writeFile(t, filepath.Join(dir, name), name+" "+password+"\n", 0o600)
	}
	writeFile(t, filepath.Join(dir, "replication"), "r "+password+"\n", 0o600) // MySQL takes 32 bytes
	return load(t, "minimal",
		"/etc/highwater/secret", filepath.Join(dir, "cluster"),
		"mysql:\n", "mysql:\n  password_file: "+filepath.Join(dir, "mysql")+"\n",
		"/etc/highwater/repl.password", filepath.Join(dir, "replication"),
	), dir
}

func writeFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func TestLoadSecretsFromFiles(t *testing.T) {
	c, _ := secretFiles(t)
	got, err := c.LoadSecrets(&c.Cluster.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	want := Secrets{"cluster " + password, "mysql " + password, "r " + password}
	if got != want {
		t.Errorf("secrets differ: lengths %d %d %d", len(got.Cluster), len(got.MySQL), len(got.Replication))
	}
	if names := c.SecretEnvNames(); len(names) > 0 {
		t.Errorf("no variable holds a secret, and SecretEnvNames returns %v", names)
	}
}

func TestLoadSecretsFromEnvironment(t *testing.T) {
	c := load(t, "ipv6")
	names := []string{"HIGHWATER_SECRET", "HIGHWATER_MYSQL_PASSWORD", "HIGHWATER_REPLICATION_PASSWORD"}
	if diff := cmp.Diff(names, c.SecretEnvNames()); diff != "" {
		t.Errorf("SecretEnvNames (-want +got):\n%s", diff)
	}
	for _, name := range names {
		t.Setenv(name, "")
	}
	_, err := c.LoadSecrets(&c.Cluster.Nodes[0])
	if err == nil || strings.Count(err.Error(), "is empty or not set") != 3 {
		t.Errorf("without the variables: %v", err)
	}
	t.Setenv(names[0], "short")
	if _, err = c.LoadSecrets(&c.Cluster.Nodes[0]); err == nil || !strings.Contains(err.Error(), "ipv6.yaml:3:15: cluster.secret_env: the secret is shorter than 32 bytes") {
		t.Errorf("with a short secret: %v", err)
	}
	for _, name := range names {
		t.Setenv(name, name[:16]+password)
	}
	t.Setenv(names[2], password)
	got, err := c.LoadSecrets(&c.Cluster.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := (Secrets{"HIGHWATER_SECRET" + password, Secret(names[1][:16] + password), password}); got != want {
		t.Error("the secrets are not those of the variables")
	}
}

// TestLoadSecretsRefuses: one bad file each, named with the key that names it.
func TestLoadSecretsRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  string
	}{
		{"others read", func(t *testing.T, p string) { chmod(t, p, 0o604) }, "has mode 0604: others can read or change it; run: chmod 0600 "},
		{"group writes", func(t *testing.T, p string) { chmod(t, p, 0o620) }, "has mode 0620: others can read or change it; run: chmod 0600 "},
		{"missing", func(t *testing.T, p string) { remove(t, p) }, "no such file or directory; let the user that runs highwater read it"},
		{"empty", func(t *testing.T, p string) { writeFile(t, p, "\n", 0o600) }, "is empty; write the secret into it, on one line"},
		{"two lines", func(t *testing.T, p string) { writeFile(t, p, password+"\n"+password+"\n", 0o600) }, "has more than one line; write the secret alone into it, on one line"},
		{"zero byte", func(t *testing.T, p string) { writeFile(t, p, password+"\x00", 0o600) }, "has more than one line; "},
		{"large", func(t *testing.T, p string) { writeFile(t, p, strings.Repeat("x", maxSecret+1), 0o600) }, "is larger than 4096 bytes; write the secret alone into it"},
		{"directory", func(t *testing.T, p string) { remove(t, p); mkdir(t, p) }, "is not a regular file; write the path of a file"},
		{"pipe", func(t *testing.T, p string) { remove(t, p); mkfifo(t, p) }, "is not a regular file; write the path of a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, dir := secretFiles(t)
			path := filepath.Join(dir, "replication")
			tt.spoil(t, path)
			got, err := c.LoadSecrets(&c.Cluster.Nodes[0])
			if err == nil || !strings.HasPrefix(err.Error(), "minimal.yaml:15:32: mysql.replication.password_file: ") ||
				!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v\nwant %s", err, tt.want)
			}
			if got != (Secrets{}) {
				t.Error("secrets were returned beside the error")
			}
			if err != nil && strings.Contains(err.Error(), "horse") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestLoadSecretsWantsALongClusterSecret(t *testing.T) {
	c, dir := secretFiles(t)
	writeFile(t, filepath.Join(dir, "cluster"), strings.Repeat("x", minClusterSecret-1)+"\n", 0o600)
	if _, err := c.LoadSecrets(&c.Cluster.Nodes[0]); err == nil || !strings.Contains(err.Error(), "minimal.yaml:3:16: cluster.secret_file: the secret is shorter than 32 bytes") {
		t.Errorf("error is %v", err)
	}
	writeFile(t, filepath.Join(dir, "cluster"), strings.Repeat("x", minClusterSecret)+"\r\n", 0o600)
	if got, err := c.LoadSecrets(&c.Cluster.Nodes[0]); err != nil || len(got.Cluster) != minClusterSecret {
		t.Errorf("secret of %d bytes: %v", len(got.Cluster), err)
	}
}

func TestLoadSecretsWantsAShortReplicationPassword(t *testing.T) {
	c, dir := secretFiles(t)
	writeFile(t, filepath.Join(dir, "replication"), strings.Repeat("x", maxReplicationPassword+1)+"\n", 0o600)
	if _, err := c.LoadSecrets(&c.Cluster.Nodes[0]); err == nil || !strings.Contains(err.Error(), "mysql.replication.password_file: the password is longer than 32 bytes") {
		t.Errorf("error is %v", err)
	}
	writeFile(t, filepath.Join(dir, "replication"), strings.Repeat("x", maxReplicationPassword)+"\n", 0o600)
	if got, err := c.LoadSecrets(&c.Cluster.Nodes[0]); err != nil || len(got.Replication) != maxReplicationPassword {
		t.Errorf("password of %d bytes: %v", len(got.Replication), err)
	}
}

func TestLoadSecretsChecksKeyFiles(t *testing.T) {
	c, dir := secretFiles(t)
	keyFile := filepath.Join(dir, "key")
	writeFile(t, keyFile, "key", 0o644)
	c.Cluster.KeyFile, c.MySQL.TLS = keyFile, &TLS{KeyFile: keyFile}
	_, err := c.LoadSecrets(&c.Cluster.Nodes[0])
	if err == nil || !strings.Contains(err.Error(), " cluster.key_file: ") || !strings.Contains(err.Error(), " mysql.tls.key_file: ") {
		t.Errorf("error is %v, want both keys in it", err)
	}
	chmod(t, keyFile, 0o600)
	if _, err := c.LoadSecrets(&c.Cluster.Nodes[0]); err != nil {
		t.Error(err)
	}
}

// TestCheckPrivate is the table of who may read a secret.
func TestCheckPrivate(t *testing.T) {
	const euid, egid = 990, 991
	for _, tt := range []struct {
		name       string
		mode       fs.FileMode
		uid, gid   uint32
		accept     bool
		suggestion string
	}{
		{"own, private", 0o600, euid, egid, true, ""},
		{"own, read-only", 0o400, euid, egid, true, ""},
		{"root's, private", 0o600, 0, 0, true, ""},
		{"root's, own group reads", 0o640, 0, egid, true, ""},
		{"root's, root's group reads", 0o440, 0, 0, true, ""},
		{"own, own group reads", 0o640, euid, egid, true, ""},
		{"other group reads", 0o640, euid, 50, false, "run: chmod 0600 /s"},
		{"root's, other group reads", 0o640, 0, 50, false, "run: chgrp 991 /s && chmod 0640 /s"},
		{"other group does not read", 0o600, euid, 50, true, ""},
		{"group writes", 0o660, euid, egid, false, "run: chmod 0600 /s"},
		{"all read", 0o644, euid, egid, false, "run: chmod 0600 /s"},
		{"all write", 0o602, euid, egid, false, "run: chmod 0600 /s"},
		{"another user's", 0o600, 1000, egid, false, "run: chown root /s"},
		{"a pipe", 0o600 | fs.ModeNamedPipe, euid, egid, false, "write the path of a file"},
	} {
		info := fileInfo{mode: tt.mode, stat: &syscall.Stat_t{Uid: tt.uid, Gid: tt.gid}}
		err := checkPrivate("/s", info, euid, egid)
		if (err == nil) != tt.accept {
			t.Errorf("%s: %v", tt.name, err)
		}
		if bad, ok := err.(*fileError); ok && bad.instead != tt.suggestion { //nolint:errorlint // never wrapped
			t.Errorf("%s: suggests %q, want %q", tt.name, bad.instead, tt.suggestion)
		}
	}
	if got, want := shellWord("/a b's"), `'/a b'\''s'`; got != want {
		t.Errorf("shellWord returned %s, want %s", got, want)
	}
}

// fileInfo is a file that need not exist, with an owner that need not either.
type fileInfo struct {
	mode fs.FileMode
	stat *syscall.Stat_t
}

func (fileInfo) Name() string        { return "s" }
func (fileInfo) Size() int64         { return 1 }
func (f fileInfo) Mode() fs.FileMode { return f.mode }
func (fileInfo) ModTime() time.Time  { return time.Time{} }
func (fileInfo) IsDir() bool         { return false }
func (f fileInfo) Sys() any          { return f.stat }

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}
