package storetest_test

import (
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Opened {
		return storetest.Opened{Store: broker.NewMemoryStore()}
	})
}
