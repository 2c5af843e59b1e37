// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"highwater/configs"
	"highwater/supervisor/voter"
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

const memberUsage = `member list [--json] | member add NODE | member remove NODE  [--config FILE]

list: the supervisors that vote, as the cluster record has them.
add: take a node in that runs, with an empty raft/ in its state_dir, and waits for that. Every host must have it in
cluster.nodes first. It catches up, and then votes.
remove: a node votes no more. The primary stays, and so does who may hold what was acknowledged.
Any host takes these orders. They need authority quorum and a majority.`

func cmdMember(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "member", memberUsage)
	asJSON := f.Bool("json", false, "list: print them as JSON")
	words, err := words(f, args)
	if err != nil {
		return err
	}
	const which = "`highwater member list`, `member add NODE` or `member remove NODE`"
	switch {
	case len(words) == 0:
		return failf(exitUsage, "say what: %s", which)
	case words[0] == "list" && len(words) == 1:
		return listMembers(ctx, e, *path, *asJSON)
	case words[0] != "add" && words[0] != "remove":
		return failf(exitUsage, "unknown order %q: it is %s", strings.Join(words, " "), which)
	case len(words) == 1:
		return failf(exitUsage, "say which node, as cluster.nodes names it")
	case len(words) > 2:
		return failf(exitUsage, "unexpected argument %q", words[2])
	}
	return order(ctx, e, *path, "member-"+words[0], map[string]string{"node": words[1]})
}

// words parses flags wherever they stand and returns what is none.
func words(f *flag.FlagSet, args []string) ([]string, error) {
	var words []string
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, &exitError{code: exitUsage} // flag has printed it
		}
		if f.NArg() == 0 {
			return words, nil
		}
		words, args = append(words, f.Arg(0)), f.Args()[1:]
	}
}

func listMembers(ctx context.Context, e *env, path string, asJSON bool) error {
	s, err := recorded(ctx, path, "members")
	switch {
	case err != nil:
		return err
	case len(s.NotVoting) > 0 && s.NotVoting[0] != string(voter.ReasonLearner): // what it has may be old
		return failf(exitRefused, "%s is no member: %s", s.Node, strings.Join(s.NotVoting, ": "))
	case asJSON:
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
