package openwire;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Marks a scenario and names the line of the checklist that it shows, such as "OW-16". */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
@interface Line {
    String value();

    /** Runs with nothing beside it: it kills the broker or measures it. */
    boolean alone() default false;

    /** Raw bytes, the same for every client: only the first generation runs it. */
    boolean raw() default false;

    /** Needs a cluster, whose active node {@link Broker#kill} ends; runs with CLUSTER=on, when nothing else does. */
    boolean cluster() default false;

    /** Seconds after which it has failed. */
    int limit() default 90;
}
