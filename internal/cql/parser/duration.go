package parser

// The three written forms of a duration (Cassandra's CQL documentation, "Working
// with durations"): 1y2mo3w4d5h6m7s8ms9us10ns; P1Y2M3DT4H5M6S or P1W; and
// P0001-02-03T04:05:06. A leading minus is a token of its own.

// unitDuration gives the length of the (number, unit) pairs that s begins with,
// 0 when there is none or the last one is cut by a word.
func unitDuration(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		i := n
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		u := unitLength(s[i:])
		if u == 0 {
			return 0
		}
		n = i + u
	}
	if n < len(s) && isWord(s[n]) {
		return 0
	}
	return n
}

// unitLength gives the length of the unit that s begins with: y, mo, w, d, h, m,
// s, ms, us, µs or ns.
func unitLength(s string) int {
	if s == "" {
		return 0
	}
	var second byte
	if len(s) > 1 {
		second = s[1] | 0x20
	}
	switch s[0] | 0x20 {
	case 'y', 'w', 'd', 'h', 's':
		return 1
	case 'm':
		if second == 'o' || second == 's' {
			return 2
		}
		return 1
	case 'u', 'n':
		if second == 's' {
			return 2
		}
	}
	if len(s) > 2 && s[:2] == "µ" && s[2]|0x20 == 's' {
		return 3
	}
	return 0
}

// isISODuration reports whether a whole word is of the form P1Y2M3DT4H5M6S or
// P1W with at least one component. Such a word is a legal identifier too; the
// grammar decides.
func isISODuration(word string) bool {
	if len(word) < 3 || word[0]|0x20 != 'p' {
		return false
	}
	units, next, components := "ymdw", 0, 0
	for i := 1; i < len(word); {
		if word[i]|0x20 == 't' && units[0] == 'y' {
			units, next = "hms", 0
			i++
			continue
		}
		from := i
		for i < len(word) && isDigit(word[i]) {
			i++
		}
		if i == from || i == len(word) {
			return false
		}
		for next < len(units) && units[next] != word[i]|0x20 {
			next++
		}
		if next == len(units) {
			return false
		}
		if units[next] == 'w' && (components > 0 || i+1 < len(word)) {
			return false // weeks stand alone
		}
		next++
		components++
		i++
	}
	return components > 0 && word[len(word)-1]|0x20 != 't'
}

// isoDateDuration gives the length of the form P0001-02-03T04:05:06 that s
// begins with, or 0.
func isoDateDuration(s string) int {
	const form = "pdddd-dd-ddtdd:dd:dd"
	if len(s) < len(form) || s[5] != '-' {
		return 0
	}
	for i := range len(form) {
		c := s[i]
		switch f := form[i]; f {
		case 'd':
			if !isDigit(c) {
				return 0
			}
		case 'p', 't':
			if c|0x20 != f {
				return 0
			}
		default:
			if c != f {
				return 0
			}
		}
	}
	if len(s) > len(form) && isWord(s[len(form)]) {
		return 0
	}
	return len(form)
}
