"""What an import changes in the gateway's loggers is restored."""

import logging
import logging.config

from gproxy.apps.isolation import kept_loggers


class Handler(logging.NullHandler):
    closed = False

    def close(self):
        self.closed = True
        super().close()


def test_a_dict_config_does_not_silence_the_gateway():
    logger, handler = logging.getLogger("gproxy.isolated"), Handler()
    logger.handlers = [handler]
    logger.setLevel("INFO")
    with kept_loggers():
        logging.config.dictConfig({"version": 1, "loggers": {"gproxy.isolated": {"level": "ERROR", "handlers": []}}})
        assert logger.level == logging.ERROR
    assert (logger.level, logger.disabled, logger.handlers, handler.closed) == (logging.INFO, False, [handler], False)
    handler.close()
    assert handler.closed
