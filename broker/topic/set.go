package topic

// indexAt is the size from which a set keeps an index, so that removing from
// a large one is not a scan.
const indexAt = 16

// set is a small unordered set that can be copied out with one append.
type set[T comparable] struct {
	list  []T
	index map[T]int // nil below indexAt
}

func (s *set[T]) find(v T) int {
	if s.index != nil {
		if i, ok := s.index[v]; ok {
			return i
		}
		return -1
	}
	for i, have := range s.list {
		if have == v {
			return i
		}
	}
	return -1
}

func (s *set[T]) add(v T) bool {
	if s.find(v) >= 0 {
		return false
	}
	s.list = append(s.list, v)
	if s.index != nil {
		s.index[v] = len(s.list) - 1
	} else if len(s.list) >= indexAt {
		s.index = make(map[T]int, 2*indexAt)
		for i, have := range s.list {
			s.index[have] = i
		}
	}
	return true
}

func (s *set[T]) remove(v T) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[i] = moved
	var zero T
	s.list[last] = zero
	s.list = s.list[:last]
	if s.index != nil {
		s.index[moved] = i
		delete(s.index, v)
	}
	if last == 0 {
		s.list, s.index = nil, nil
	}
	return true
}
