// Starts the page.  In a file of its own because the page's policy forbids inline scripts; without the
// validator because that one would send the document to somebody else's server.
window.onload = () => {
  SwaggerUIBundle({
    url: document.getElementById("page").dataset.document,
    dom_id: "#page",
    deepLinking: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
  });
};
