"""What tests share: factories of data, servers, clients and inputs."""
