package offsite_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
)

// TestCopiesAreInTheOrderOfTheirRuns: an empty machine takes the first. Where a clock was set back, the newest run has not the newest time.
func TestCopiesAreInTheOrderOfTheirRuns(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	of := func(repository string, sequence uint64, hours int) offsite.Copy {
		return offsite.Copy{Index: offsite.Index{
			RepositoryID: repository, ID: fmt.Sprint(sequence), Sequence: sequence, Finished: noon.Add(time.Duration(hours) * time.Hour),
		}}
	}
	copies := []offsite.Copy{
		of("a", 1, 0), of("a", 2, 48), of("a", 3, 1), of("a", 4, 2), // the clock was set back after 2
		of("b", 7, 3), of("b", 8, 47), of("b", 9, 49),
	}
	want := []string{"b9", "a4", "a3", "a2", "b8", "b7", "a1"}
	for range 20 { // from whichever order the store lists them in
		copies = append(copies[3:], copies[:3]...)
		copies[0], copies[4] = copies[4], copies[0]
		given := slices.Clone(copies)
		offsite.NewestFirst(given)
		var got []string
		for _, c := range given {
			got = append(got, c.RepositoryID+c.ID)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("the order is %v, want %v", got, want)
		}
	}
}
