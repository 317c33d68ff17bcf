package cloudtrail

import (
	"encoding/base64"
	"strings"
)

// page cuts one page out of a list that is ordered by key. A token names the
// last item of the page before, so a page stays right while items come and go;
// what belongs to is the request's parameters, with which the token is good.
func page[T any](list []T, key func(*T) string, belongs, token string, limit *int32, most int) (out []T, next *string, err error) {
	n := most
	if limit != nil {
		n = int(*limit)
	}
	if token != "" {
		raw, derr := base64.RawURLEncoding.DecodeString(token)
		last, ok := strings.CutPrefix(string(raw), belongs+"\x00")
		if derr != nil || !ok {
			return nil, nil, invalid("InvalidNextTokenException", "The NextToken is not valid, or the parameters differ from those of the request that it came from.")
		}
		i := 0
		for i < len(list) && key(&list[i]) <= last {
			i++
		}
		list = list[i:]
	}
	if len(list) <= n {
		return list, nil, nil
	}
	return list[:n], new(base64.RawURLEncoding.EncodeToString([]byte(belongs + "\x00" + key(&list[n-1])))), nil
}
