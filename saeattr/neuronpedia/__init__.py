"""The bridge to Neuronpedia: ids and links, labels by plain HTTP or from bulk exports, lists, dashboards."""
