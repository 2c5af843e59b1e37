// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"highwater/configs"
	"highwater/mysqlcheck"
	"highwater/supervisor"
)

func cmdCheck(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "check", "[--config FILE] [--config-only] [--json]\n\nReads the configuration and compares it with this host, its server and its network. Changes nothing.\nExit code 1 when something must be mended before `highwater run` can be trusted.")
	asJSON := f.Bool("json", false, "print the findings as JSON")
	configOnly := f.Bool("config-only", false, "look at the configuration and the files that it names, at nothing else")
	if err := parse(f, args); err != nil {
		return err
	}
	if *configOnly {
		return checkConfig(e, *path)
	}
	c, self, err := load(*path)
	if err != nil {
		return err
	}
	findings := supervisor.Check(ctx, c, self)
	blockers := 0
	for _, f := range findings {
		if f.Severity == mysqlcheck.Blocker {
			blockers++
		}
	}
	if asJSON := *asJSON; asJSON {
		encoder := json.NewEncoder(e.stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(findings); err != nil {
			return err
		}
	} else {
		printFindings(e, findings)
	}
	if blockers > 0 {
		return failf(exitFailed, "%d of %d findings must be mended first", blockers, len(findings))
	}
	return nil
}

// checkConfig says whether `run` would accept the configuration.
func checkConfig(e *env, path string) error {
	c, self, secrets, err := runnable(path)
	if err != nil {
		return err
	}
	if err := supervisor.Acceptable(c, self, secrets); err != nil {
		return failf(exitUsage, "%v", err)
	}
	_, err = fmt.Fprintf(e.stdout, "highwater %s accepts %s for %s.\n", version, path, self.Name)
	return err
}

func printFindings(e *env, findings []supervisor.Finding) {
	if len(findings) == 0 {
		fmt.Fprintln(e.stdout, "Nothing to mend.")
	}
	for _, f := range findings {
		fmt.Fprintf(e.stdout, "%-8s %-13s %s\n", f.Severity, f.Subject, f.Problem)
		for line := range strings.Lines(f.Fix) {
			fmt.Fprintf(e.stdout, "%-22s -> %s", "", line)
		}
		if f.Fix != "" && !strings.HasSuffix(f.Fix, "\n") {
			fmt.Fprintln(e.stdout)
		}
	}
}

// hiddenPassword stands where a password belongs.
const hiddenPassword = "*** the content of the password file ***"

func cmdGrants(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "grants", "[--config FILE] [--server VERSION] [--with-passwords]\n\nPrints the SQL that makes Highwater's accounts. Run it on the primary; it replicates from there.")
	server := f.String("server", "", "version to write for, such as 8.4.3 or 10.11.6-MariaDB; asked of the local server when empty")
	passwords := f.Bool("with-passwords", false, "print the passwords too: for a pipe, not for a screen")
	if err := parse(f, args); err != nil {
		return err
	}
	c, self, err := load(*path)
	if err != nil {
		return err
	}
	secrets := configs.Secrets{MySQL: hiddenPassword, Replication: hiddenPassword}
	if *passwords || *server == "" {
		loaded, err := c.LoadSecrets(self)
		if err != nil {
			return failf(exitUsage, "%v", err)
		}
		if *server == "" {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			if *server, err = supervisor.ServerVersion(ctx, c, loaded); err != nil {
				return failf(exitUnreachable, "%v; name the version with --server", err)
			}
		}
		if *passwords {
			secrets = loaded
		}
	}
	v, err := mysqlcheck.ParseVersion(*server, "")
	if err != nil {
		return failf(exitUsage, "%v", err)
	}
	if err := v.Supported(); err != nil {
		return failf(exitRefused, "%v", err)
	}
	for _, statement := range mysqlcheck.Grants(v, accounts(c, secrets)) {
		fmt.Fprintln(e.stdout, statement+";")
	}
	return nil
}

// askTimeout bounds a question to the local server.
const askTimeout = 5 * time.Second

// accounts are those that a configuration names. Through a unix socket the server sees the
// supervisor at localhost.
func accounts(c *configs.Config, secrets configs.Secrets) mysqlcheck.Accounts {
	host := "%"
	if strings.HasPrefix(c.MySQL.Address, "/") {
		host = "localhost"
	}
	schema, _, _ := strings.Cut(c.MySQL.Heartbeat, ".")
	a := mysqlcheck.Accounts{
		Supervisor: mysqlcheck.Account{User: c.MySQL.User, Host: host, Password: secrets.MySQL.Reveal()},
		Schema:     schema,
		Lossless:   c.Durability.Mode == configs.Lossless,
	}
	for _, node := range c.Cluster.Nodes {
		if node.Witness {
			continue
		}
		user := c.MySQL.Replication.UserFor(node.Name)
		if len(a.Replication) > 0 && a.Replication[len(a.Replication)-1].User == user {
			continue // one account for all
		}
		a.Replication = append(a.Replication, mysqlcheck.Account{User: user, Host: "%", Password: secrets.Replication.Reveal()})
	}
	return a
}
