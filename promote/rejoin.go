// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"

	"highwater/mysqlcheck/gtid"
)

// RejoinResult is how an old primary came back, or why it did not.
type RejoinResult struct {
	// Follow is set if it follows again.
	Follow FollowResult
	// Held says that it has transactions which its source has not, and stays out
	// until somebody decides. Errant names them, and Tail is the file that holds
	// them, readable and, where mysqlbinlog is at hand, replayable.
	Held   bool
	Errant gtid.Set
	Tail   string
	// Replayable says that Tail is more than a list.
	Replayable bool
}

// Rejoin makes an old primary follow src, if it has nothing that src has not.
// If it has, the server is held: nothing in it is changed, the transactions are
// saved, and that is not an error. All other refusals are those of
// [Server.Follow].
func (s *Server) Rejoin(ctx context.Context, src Source) (RejoinResult, error) {
	follow, err := s.Follow(ctx, src)
	var errant ErrErrant
	if !errors.As(err, &errant) {
		return RejoinResult{Follow: follow}, err
	}
	result := RejoinResult{Held: true, Errant: errant.Set}
	ctx, c, end, err := s.start(ctx, "save errant transactions", rankPrepare)
	if err != nil {
		return result, err
	}
	defer end()
	result.Tail, err = c.saveTail(ctx, errant.Set, src)
	if err == nil {
		result.Replayable, err = replayable(result.Tail)
	}
	if err != nil {
		return result, fmt.Errorf("save errant transactions: %w", err)
	}
	return result, nil
}
