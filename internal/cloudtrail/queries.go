package cloudtrail

import (
	"strings"

	"spoor/internal/call"
)

// checkStatement checks a statement before it is kept or run: it is a query
// over event data stores that are there.
func (s *api) checkStatement(c *call.Call, statement string, _ []string) error {
	names := storesNamed(statement)
	if len(names) == 0 || !strings.Contains(strings.ToUpper(statement), "SELECT") {
		return invalid("InvalidQueryStatementException", "The query statement is not valid.")
	}
	for _, id := range names {
		if _, err := s.activeStore(c, id); err != nil {
			return err
		}
	}
	return nil
}
