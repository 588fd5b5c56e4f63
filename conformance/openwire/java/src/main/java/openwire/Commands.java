package openwire;

import java.io.IOException;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.activemq.transport.TransportListener;

/** Counts what a connection receives of one type. */
final class Commands implements TransportListener {
    private final Class<?> type;
    private final AtomicInteger count;

    Commands(Class<?> type, AtomicInteger count) {
        this.type = type;
        this.count = count;
    }

    @Override
    public void onCommand(Object command) {
        if (type.isInstance(command)) {
            count.incrementAndGet();
        }
    }

    @Override
    public void onException(IOException error) {
    }

    @Override
    public void transportInterupted() {
    }

    @Override
    public void transportResumed() {
    }
}
