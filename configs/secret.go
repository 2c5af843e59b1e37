// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// Secret is a password or key. It prints as "<secret>" in every format; only
// Reveal returns it. Two places are out of its reach, and no place for it:
// unexported fields of values that are printed, where fmt calls no methods, and
// keys of maps that are marshalled to JSON.
type Secret string

const redacted = "<secret>"

var (
	_ fmt.Formatter  = Secret("")
	_ fmt.GoStringer = Secret("")
	_ json.Marshaler = Secret("")
	_ yaml.Marshaler = Secret("")
	_ slog.LogValuer = Secret("")
)

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns "<secret>".
func (Secret) String() string { return redacted }

// GoString returns "<secret>".
func (Secret) GoString() string { return redacted }

// Format prints "<secret>", also for verbs that do not ask for a string.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalJSON returns "<secret>".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML returns "<secret>".
func (Secret) MarshalYAML() (any, error) { return redacted, nil }

// LogValue returns "<secret>".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Secrets are what the file names and does not contain. An empty one was not
// asked for: certificates or the socket's user stand in for it.
type Secrets struct {
	Cluster     Secret
	MySQL       Secret
	Replication Secret
}

// minClusterSecret is the least length of the cluster's secret in bytes. Anyone
// who reaches the peer port can try secrets against what a handshake shows, so
// it must not be guessable.
const minClusterSecret = 32

// maxReplicationPassword is the longest SOURCE_PASSWORD that MySQL takes, in bytes
// (CHANGE REPLICATION SOURCE TO, error 3056). Nothing else notices before a failover.
const maxReplicationPassword = 32

// maxSecret bounds a secret, in bytes.
const maxSecret = 4096

// LoadSecrets reads the secrets that self needs of those that the file names, from
// files or environment variables, and checks who else can read them and the private keys. The error
// is Errors; it names files and variables and never shows what is in them.
func (c *Config) LoadSecrets(self *Node) (Secrets, error) {
	var (
		s    Secrets
		errs Errors
		m    = &c.MySQL
	)
	read := func(into *Secret, path, name, file, env string) {
		var err error
		if *into, err = readSecret(file, env); err != nil {
			key := join(path, name+"_file")
			if env != "" {
				key = join(path, name+"_env")
			}
			errs = append(errs, c.secretError(key, err))
		}
	}
	read(&s.Cluster, "cluster", "secret", c.Cluster.SecretFile, c.Cluster.SecretEnv)
	if !self.Witness {
		read(&s.MySQL, "mysql", "password", m.PasswordFile, m.PasswordEnv)
		read(&s.Replication, "mysql.replication", "password", m.Replication.PasswordFile, m.Replication.PasswordEnv)
	}
	if n := len(s.Cluster); n > 0 && n < minClusterSecret {
		key := "cluster.secret_file"
		if c.Cluster.SecretEnv != "" {
			key = "cluster.secret_env"
		}
		errs = append(errs, c.errorAt(key, fmt.Sprintf("the secret is shorter than %d bytes", minClusterSecret), "make one: openssl rand -base64 32"))
	}
	if len(s.Replication) > maxReplicationPassword {
		key := "mysql.replication.password_file"
		if m.Replication.PasswordEnv != "" {
			key = "mysql.replication.password_env"
		}
		errs = append(errs, c.errorAt(key, fmt.Sprintf("the password is longer than %d bytes, which MySQL refuses in CHANGE REPLICATION SOURCE (error 3056)", maxReplicationPassword),
			"make one: openssl rand -hex 16"))
	}
	keyFile := func(path, file string) {
		if file == "" {
			return
		}
		f, err := openPrivate(file)
		if err != nil {
			errs = append(errs, c.secretError(path, err))
			return
		}
		f.Close() // only its mode was of interest
	}
	keyFile("cluster.key_file", c.Cluster.KeyFile)
	if m.TLS != nil && !self.Witness {
		keyFile("mysql.tls.key_file", m.TLS.KeyFile)
	}
	errs.sort()
	if err := errs.err(); err != nil {
		return Secrets{}, err
	}
	return s, nil
}

// SecretEnvNames returns the environment variables that hold secrets, which
// programs started by Highwater must not inherit.
func (c *Config) SecretEnvNames() []string {
	var names []string
	for _, name := range []string{c.Cluster.SecretEnv, c.MySQL.PasswordEnv, c.MySQL.Replication.PasswordEnv} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

func (c *Config) secretError(path string, err error) Error {
	var file *fileError
	if errors.As(err, &file) {
		return c.errorAt(path, file.Error(), file.instead)
	}
	return c.errorAt(path, err.Error(), "let the user that runs highwater read it")
}

// readSecret reads one secret, from the file or else from the variable, and
// nothing if neither is named.
func readSecret(file, env string) (Secret, error) {
	switch {
	case file != "":
		return readSecretFile(file)
	case env != "":
		s := os.Getenv(env)
		if s == "" {
			return "", &fileError{"environment variable " + env, "is empty or not set", "set it for this process, or name a file"}
		}
		return Secret(s), nil
	}
	return "", nil
}

func readSecretFile(path string) (Secret, error) {
	f, err := openPrivate(path)
	if err != nil {
		return "", err
	}
	defer f.Close() // only read: nothing is lost with the error
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read: %w", err) // a PathError names the file
	}
	if len(data) > maxSecret {
		return "", &fileError{path, fmt.Sprintf("is larger than %d bytes", maxSecret), "write the secret alone into it"}
	}
	// An editor ends the line; the end is not part of the secret.
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case len(data) == 0:
		return "", &fileError{path, "is empty", "write the secret into it, on one line"}
	case bytes.ContainsAny(data, "\n\r\x00"):
		return "", &fileError{path, "has more than one line", "write the secret alone into it, on one line"}
	}
	return Secret(data), nil
}

// fileError is a file or variable whose secret is not accepted.
type fileError struct{ source, what, instead string }

func (e *fileError) Error() string { return e.source + " " + e.what }

// openPrivate opens a regular file that only this process's user, root and, if
// its group may read it, this process's group can read. The open file is
// checked, so that nothing can be put in its place in between.
func openPrivate(path string) (*os.File, error) {
	// Without O_NONBLOCK, opening a FIFO waits for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkPrivate(path, info, os.Geteuid(), os.Getegid())
	}
	if err != nil {
		f.Close() // the reason to refuse it says more
		return nil, err
	}
	return f, nil
}

// checkPrivate refuses a file that others than root and the process can read.
// Its group may read it (0640) if that is root's or the process's own: systemd
// shows credentials so, and packages install files so.
func checkPrivate(path string, info fs.FileInfo, euid, egid int) error {
	owner, group := -1, -1
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner, group = int(st.Uid), int(st.Gid)
	}
	refuse := func(what, instead string) error { return &fileError{path, what, instead} }
	mode := info.Mode().Perm()
	lockDown := "run: chmod 0600 " + shellWord(path)
	if owner != euid { // then the process needs its group to read it
		lockDown = fmt.Sprintf("run: chgrp %d %s && chmod 0640 %[2]s", egid, shellWord(path))
	}
	switch {
	case !info.Mode().IsRegular():
		return refuse("is not a regular file", "write the path of a file")
	case owner != 0 && owner != euid:
		return refuse(fmt.Sprintf("belongs to user %d, not to root or the user of this process", owner), "run: chown root "+shellWord(path))
	case mode&0o037 != 0:
		return refuse(fmt.Sprintf("has mode %04o: others can read or change it", mode), lockDown)
	case mode&0o040 != 0 && group != 0 && group != egid:
		return refuse(fmt.Sprintf("can be read by group %d, which is not that of this process", group), lockDown)
	}
	return nil
}

// shellWord quotes a path for a shell where it needs that.
func shellWord(s string) string {
	if !strings.ContainsAny(s, " \t'\"\\$`!*?[](){}<>|&;~#") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
