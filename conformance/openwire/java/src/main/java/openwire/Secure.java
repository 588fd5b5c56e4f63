package openwire;

import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;

import javax.jms.JMSException;
import javax.jms.JMSSecurityException;
import javax.jms.Queue;
import javax.jms.Session;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.TrustManagerFactory;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQSslConnectionFactory;
import org.apache.activemq.command.ActiveMQQueue;

/**
 * OpenWire over TLS, with the client's own SSL transport, beside what conformance/tls shows on every listener: TLS-1,
 * messages; TLS-2, trust; TLS-3, a client that names no user is who its certificate says.
 */
final class Secure extends Scenario {
    private static Certificate certificate(String variable) throws Exception {
        try (InputStream in = Files.newInputStream(Path.of(Broker.address(variable)))) {
            return CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    private static KeyManager[] own() throws Exception {
        String pem = Files.readString(Path.of(Broker.address("KEY_FILE")), StandardCharsets.US_ASCII);
        byte[] der = Base64.getMimeDecoder().decode(pem.replaceAll("-----[A-Z ]+-----", ""));
        PrivateKey key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(der));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("own", key, new char[0], new Certificate[] {certificate("CERT_FILE")});
        KeyManagerFactory f = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        f.init(store, new char[0]);
        return f.getKeyManagers();
    }

    /** A factory that trusts the broker's authority and shows the certificate that is its own, or none. */
    private static ActiveMQSslConnectionFactory factory(boolean trusts, KeyManager[] own, String scheme) throws Exception {
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setCertificateEntry("ca", certificate(trusts ? "CA_FILE" : "CERT_FILE"));
        trust.init(store);
        ActiveMQSslConnectionFactory f = new ActiveMQSslConnectionFactory(String.format(scheme, Broker.address("TLS_ADDR")));
        f.setKeyAndTrustManagers(own, trust.getTrustManagers(), new SecureRandom());
        return f;
    }

    private ActiveMQConnection open(ActiveMQSslConnectionFactory f, String user, String password) throws JMSException {
        ActiveMQConnection c = (ActiveMQConnection) f.createConnection(user, password);
        c.setCloseTimeout(3000);
        later(c::close);
        c.start();
        return c;
    }

    @Line("TLS-1")
    void textsOverTLS() throws Exception {
        for (String scheme : new String[] {"ssl://%s", "failover:(ssl://%s)"}) {
            Session s = auto(open(factory(true, null, scheme), Broker.USER, Broker.PASSWORD));
            Queue q = new ActiveMQQueue(unique());
            String large = "0123456789abcdef".repeat(20_000);
            send(s, q, "small", large);
            expectTexts(s.createConsumer(q), "small", large);
        }
    }

    @Line("TLS-2")
    void unknownAuthorityIsRefused() throws Exception {
        try {
            open(factory(false, null, "ssl://%s"), Broker.USER, Broker.PASSWORD);
        } catch (JMSException e) {
            return;
        }
        check(false, "connected without trust");
    }

    @Line("TLS-3")
    void certificateIsTheUser() throws Exception {
        Session s = auto(open(factory(true, own(), "ssl://%s"), null, null));
        Queue q = new ActiveMQQueue("CAROL." + unique());
        send(s, q, "hers");
        expectTexts(s.createConsumer(q), "hers");
        try {
            send(s, new ActiveMQQueue(unique()), "not hers"); // she may not make it
        } catch (JMSException e) {
            check(e instanceof JMSSecurityException, "refused with " + e);
            return;
        }
        check(false, "the certificate's user may send where she may not");
    }
}
