package openwire;

import java.lang.reflect.Proxy;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

import javax.naming.Context;
import javax.naming.NameNotFoundException;

import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;
import org.objectweb.jtests.jms.admin.Admin;

/**
 * Gives a test of the JORAM suite its connection factories and destinations. Each test makes one of these and has queues and topics of its own behind the names
 * it knows, so that nothing a failed test leaves behind reaches the next.
 */
public final class JoramAdmin implements Admin {
    private final Map<String, Object> bound = new HashMap<>();

    @Override
    public String getName() {
        return Broker.KIND;
    }

    /** A context that can only look up, and sees what is made later. */
    @Override
    public Context createContext() {
        return (Context) Proxy.newProxyInstance(JoramAdmin.class.getClassLoader(), new Class<?>[] {Context.class}, (self, method, args) -> {
            if (!method.getName().equals("lookup")) {
                throw new UnsupportedOperationException(method.toString());
            }
            Object found = bound.get(args[0].toString());
            if (found == null) {
                throw new NameNotFoundException(args[0].toString());
            }
            return found;
        });
    }

    @Override
    public void createConnectionFactory(String name) {
        ActiveMQConnectionFactory f = new ActiveMQConnectionFactory(Broker.USER, Broker.PASSWORD, Broker.URL);
        f.setTrustedPackages(List.of("java.lang", "java.util"));
        f.setNestedMapAndListEnabled(false); // JMS knows no lists in properties
        bound.put(name, f);
    }

    @Override
    public void createQueueConnectionFactory(String name) {
        createConnectionFactory(name);
    }

    @Override
    public void createTopicConnectionFactory(String name) {
        createConnectionFactory(name);
    }

    @Override
    public void createQueue(String name) {
        bound.put(name, new ActiveMQQueue("JORAM." + name + "." + UUID.randomUUID()));
    }

    @Override
    public void createTopic(String name) {
        bound.put(name, new ActiveMQTopic("JORAM." + name + "." + UUID.randomUUID()));
    }

    @Override
    public void deleteConnectionFactory(String name) {
        bound.remove(name);
    }

    @Override
    public void deleteQueueConnectionFactory(String name) {
        bound.remove(name);
    }

    @Override
    public void deleteTopicConnectionFactory(String name) {
        bound.remove(name);
    }

    @Override
    public void deleteQueue(String name) {
        bound.remove(name);
    }

    @Override
    public void deleteTopic(String name) {
        bound.remove(name);
    }

    // The broker runs already.
    @Override
    public void startServer() {
    }

    @Override
    public void stopServer() {
    }

    @Override
    public void start() {
    }

    @Override
    public void stop() {
    }
}
