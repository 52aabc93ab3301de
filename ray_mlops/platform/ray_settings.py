"""What Ray reads from the environment at start-up, as it was measured to be best in Ray 2.60."""

# Without the worker limits Ray restarts its workers at each shuffle stage; without the footer setting each Parquet read
# starts 32 actors; a Train report waits for the health check; who waits for a node whose network is gone waits for seven
# minutes, without the keepalive settings.
SETTINGS = {
    "RAY_prestart_worker_first_driver": "0",
    "RAY_num_workers_soft_limit": "8",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "RAY_grpc_client_keepalive_time_ms": "20000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",
    "RAY_DATA_ENABLE_ARROW_BACKED_PANDAS_CONVERSION": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "POLARS_MAX_THREADS": "1",
}
# Of nodes on which this package is installed. Serve calls both in its own processes, which Ray puts behind all else like
# any worker: on a busy machine each request would wait for the proxy, and a lost replica for the controller.
NODES = {
    **SETTINGS,
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "ray_mlops.serving.bypass:middlewares",
    "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "ray_mlops.platform.priority:come_first",
}
