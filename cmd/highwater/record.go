// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"highwater/configs"
	"highwater/supervisor/web"
)

func cmdPause(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "pause", "[--for DURATION] [--why TEXT] [--config FILE]\n\n"+
		"In the whole cluster no failover happens that nobody orders, until `highwater resume` or the end of DURATION.\n"+
		"The primary goes on, also after a restart of its server; `highwater failover` works. Needs authority quorum.")
	span := f.Duration("for", 0, "end by itself after this `DURATION`, such as 2h; 0: never")
	why := f.String("why", "", "what is being done, for the others: `TEXT` of one line")
	if err := parse(f, args); err != nil {
		return err
	}
	orders := map[string]string{}
	switch {
	case *span < 0, *span > 0 && *span < time.Second:
		return failf(exitUsage, "--for %v is shorter than a second", *span)
	case *span > 0:
		orders["for"] = span.String()
	}
	if *why != "" {
		orders["why"] = *why
	}
	return order(ctx, e, *path, "pause", orders)
}

func cmdResume(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "resume", "[--config FILE]\n\nEnds a pause. A failover that it held up happens now.")
	if err := parse(f, args); err != nil {
		return err
	}
	return order(ctx, e, *path, "resume", nil)
}

func cmdHistory(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "history", "[--json] [--config FILE]\n\nThe last moves of the role, the newest first, as the cluster record tells them on every host.")
	asJSON := f.Bool("json", false, "print them as JSON, the oldest first")
	if err := parse(f, args); err != nil {
		return err
	}
	s, err := recorded(ctx, *path, "history")
	switch {
	case err != nil:
		return err
	case *asJSON:
		return printJSON(e, append([]web.Move{}, s.History...))
	case len(s.History) == 0:
		_, err := fmt.Fprintln(e.stdout, "the role has not moved yet")
		return err
	}
	return s.HistoryTable(e.stdout)
}

func cmdMember(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "member list", "[--json] [--config FILE]\n\nThe supervisors that vote, as the cluster record has them.")
	asJSON := f.Bool("json", false, "print them as JSON")
	if len(args) == 0 || args[0] != "list" {
		if len(args) > 0 && (args[0] == "-h" || args[0] == "--help") {
			return parse(f, args)
		}
		return failf(exitUsage, "say what: `highwater member list`")
	}
	if err := parse(f, args[1:]); err != nil {
		return err
	}
	s, err := recorded(ctx, *path, "members")
	switch {
	case err != nil:
		return err
	case *asJSON:
		return printJSON(e, s.Members)
	}
	return s.MemberTable(e.stdout)
}

// recorded reads the local supervisor's status, for what the cluster record says in it.
func recorded(ctx context.Context, path, what string) (web.Status, error) {
	var s web.Status
	c, err := client(path)
	if err != nil {
		return s, err
	}
	document, err := c.Status(ctx)
	if err != nil {
		return s, reached(err)
	}
	if err := json.Unmarshal(document, &s); err != nil {
		return s, fmt.Errorf("decode status: %w", err)
	}
	if s.Authority != configs.AuthorityQuorum {
		return s, failf(exitRefused, "with authority vrrp there is no cluster record, so no %s that all hosts share; `highwater status` tells what this host saw", what)
	}
	return s, nil
}

func printJSON(e *env, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = fmt.Fprintf(e.stdout, "%s\n", text)
	return err
}
