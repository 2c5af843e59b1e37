// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"highwater/test/lab"
)

// The passwords appear nowhere but in their files: not in logs, journals and state, not in
// what is served, not in a command line, also when something fails that has to do with them.
func TestSecrets(t *testing.T) {
	const control, replication = "planted-control-9f1c", "planted-replication-77ab"
	r := prepare(t, semiSync())
	statements := []string{"ALTER USER '" + lab.Control.User + "'@'%' IDENTIFIED BY '" + control + "'"}
	for _, h := range r.Hosts() {
		statements = append(statements, "ALTER USER '"+h.ReplicationUser()+"'@'%' IDENTIFIED BY '"+replication+"'")
		dir := filepath.Dir(r.ConfigFile(h))
		r.must(os.WriteFile(filepath.Join(dir, "mysql.password"), []byte(control+"\n"), 0o600))
		r.must(os.WriteFile(filepath.Join(dir, "repl.password"), []byte(replication+"\n"), 0o600))
	}
	r.must(r.db(1).Server.Exec(r.ctx, statements...))
	r.must(r.WaitReplicas(r.ctx, r.db(1), r.Hosts()[1:]...))
	r.must(r.StartAll(r.ctx))
	secrets := [][]byte{[]byte(control), []byte(replication), []byte("0123456789abcdef0123456789abcdef")}

	w := r.write()
	r.db(1).Server.Kill()
	primary := r.moved(r.db(1))
	r.must(r.db(1).Server.Start(r.ctx))
	r.settled(primary)
	// The accounts stop working: errors name everything but the password.
	r.must(primary.Server.Exec(r.ctx, "ALTER USER '"+lab.Control.User+"'@'%' IDENTIFIED BY 'another'"))
	for _, h := range r.Hosts() {
		r.killSessions(h, lab.Control.User)
	}
	r.pause(2 * time.Second)
	r.must(primary.Server.Exec(r.ctx, "ALTER USER '"+lab.Control.User+"'@'%' IDENTIFIED BY '"+control+"'"))
	r.end(w, primary, 1)

	search := func(where string, text []byte) {
		for _, secret := range secrets {
			if bytes.Contains(text, secret) {
				t.Errorf("%s has %q", where, secret)
			}
		}
	}
	for _, h := range r.Hosts() {
		for _, path := range []string{"/v1/status", "/metrics", "/"} {
			_, body, err := r.Get(r.ctx, h, path)
			r.must(err)
			search(path+" of "+h.Name(), body)
		}
		out, err := r.Command(r.ctx, h, "status", "--json")
		r.must(err)
		search("status of "+h.Name(), []byte(out))
		log, err := os.ReadFile(r.LogFile(h))
		r.must(err)
		search("the log of "+h.Name(), log)
		files := 0
		r.must(filepath.WalkDir(r.StateDir(h), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			search(path, text)
			return err
		}))
		if files == 0 {
			t.Errorf("nothing in the state directory of %s", h)
		}
		pid := r.Supervisor(h).Pid()
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			r.must(err)
			search(fmt.Sprintf("%s of %s's supervisor", file, h), text)
		}
	}
}
