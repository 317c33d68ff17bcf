package journal

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/record"
)

// TestReadAcrossMemory: whatever part of the journal is in memory, readers see
// every record once and in order, while it grows and the memory moves on.
func TestReadAcrossMemory(t *testing.T) {
	t.Parallel()
	one := len(entry(t, "0000", "us-east-1").Data)
	for _, limit := range []int{0, one, 3 * one, 50 * one, 1 << 30} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			s, j := open(t, vfs.NewMem())
			defer closeAll(t, s, j)
			j.recent.limit = limit
			const records = 400
			var writers, readers sync.WaitGroup
			for w := range 4 {
				writers.Go(func() {
					for i := range records / 4 {
						if err := j.Append(Group{Entries: []Entry{entry(t, fmt.Sprintf("%d-%03d", w, i), "us-east-1")}}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for r := range 3 {
				readers.Go(func() {
					at, ids := uint64(0), map[string]bool{}
					for at < records {
						after := at
						if r == 2 {
							after = records - 1 // a reader that lags
						}
						head, err := j.Wait(t.Context(), after)
						if err != nil {
							t.Error(err)
							return
						}
						err = j.Read(at, head, func(it Item) (bool, error) {
							if it.Seq != at+1 || it.StreamSeq != it.Seq || ids[it.Field(record.FieldEventID)] {
								return false, fmt.Errorf("after record %d came %d (%s)", at, it.Seq, it.Field(record.FieldEventID))
							}
							at, ids[it.Field(record.FieldEventID)] = it.Seq, true
							return at%7 != 0, nil // readers stop anywhere
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			writers.Wait()
			readers.Wait()
			if j.recent.bytes > max(limit, 0) || limit == 1<<30 && len(j.recent.items) != records {
				t.Errorf("%d records of %d bytes in memory, limit %d", len(j.recent.items), j.recent.bytes, limit)
			}
		})
	}
}
